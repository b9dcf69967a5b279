//! Restarts of builds and jobs.

use axum::Json;
use axum::extract::{self, Path};
use axum::http::HeaderMap;
use serde_json::{Value, json};
use tracing::info;

use crate::domain::JobId;
use crate::store::queue;
use crate::web::State;
use crate::web::error::{Error, InJson};
use crate::web::rows::{self, Build};

/// `POST /api/v1/repos/{owner}/{repo}/builds/{number}/restart`: runs every job of a build again that has ended.
pub(in crate::web) async fn build(
    extract::State(state): extract::State<State>,
    Path((owner, name, number)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Json<Value>, InJson> {
    let who = state.auth.who(&headers)?;
    let build = rows::build(&state.db, &owner, &name, &number).await?;
    restart(&state, &build, None, who).await
}

/// `POST /api/v1/repos/{owner}/{repo}/builds/{number}/jobs/{job}/restart`: runs a single job again.
pub(in crate::web) async fn job(
    extract::State(state): extract::State<State>,
    Path((owner, name, number, job)): Path<(String, String, String, String)>,
    headers: HeaderMap,
) -> Result<Json<Value>, InJson> {
    let who = state.auth.who(&headers)?;
    let build = rows::build(&state.db, &owner, &name, &number).await?;
    let job = rows::job(&state.db, build.id, &job).await?;
    restart(&state, &build, Some(job.id), who).await
}

async fn restart(state: &State, build: &Build, job: Option<JobId>, who: &str) -> Result<Json<Value>, InJson> {
    let mut tx = state.db.begin().await?;
    let restarted = queue::restart(&mut tx, build.id, job, who).await?;
    let restarted = restarted.map_err(|refused| Error::Conflict(refused.to_string()))?;
    tx.commit().await?;
    info!("{who} has restarted {restarted} jobs of {}/{}#{}", build.owner, build.name, build.number);
    state.bells.outbox.ring();
    state.bells.worker.ring();
    Ok(Json(json!({ "restarted": restarted })))
}
