//! Cancels of builds and jobs.

use axum::Json;
use axum::extract::{self, Path};
use axum::http::HeaderMap;
use serde_json::{Value, json};

use crate::domain::{BuildId, JobId};
use crate::store::queue;
use crate::web::State;
use crate::web::error::InJson;
use crate::web::rows;

/// `POST /api/v1/repos/{owner}/{repo}/builds/{number}/cancel`: cancels every job of a build that has not ended.
pub(in crate::web) async fn build(
    extract::State(state): extract::State<State>,
    Path((owner, name, number)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Json<Value>, InJson> {
    let who = state.auth.who(&headers)?;
    let build = rows::build(&state.db, &owner, &name, &number).await?;
    cancel(&state, build.id, None, who).await
}

/// `POST /api/v1/repos/{owner}/{repo}/builds/{number}/jobs/{job}/cancel`: cancels a single job.
pub(in crate::web) async fn job(
    extract::State(state): extract::State<State>,
    Path((owner, name, number, job)): Path<(String, String, String, String)>,
    headers: HeaderMap,
) -> Result<Json<Value>, InJson> {
    let who = state.auth.who(&headers)?;
    let build = rows::build(&state.db, &owner, &name, &number).await?;
    let job = rows::job(&state.db, build.id, &job).await?;
    cancel(&state, build.id, Some(job.id), who).await
}

async fn cancel(state: &State, build: BuildId, job: Option<JobId>, who: &str) -> Result<Json<Value>, InJson> {
    let mut tx = state.db.begin().await?;
    let canceled = queue::cancel(&mut tx, build, job, &format!("canceled by {who}")).await?;
    tx.commit().await?;
    state.bells.outbox.ring();
    state.bells.worker.ring();
    Ok(Json(json!({ "canceled": canceled })))
}
