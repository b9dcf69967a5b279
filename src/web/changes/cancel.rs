//! Cancels of builds and jobs.

use axum::Json;
use axum::extract;
use serde_json::{Value, json};

use super::Change;
use crate::store::queue;
use crate::web::State;
use crate::web::error::InJson;

/// `POST /api/v1/repos/{owner}/{repo}/builds/{number}/cancel`: cancels every job of a build that has not ended. Below
/// `jobs/{job}`, it cancels a single job.
pub(in crate::web) async fn cancel(
    extract::State(state): extract::State<State>,
    Change { who, build, job }: Change,
) -> Result<Json<Value>, InJson> {
    let mut tx = state.db.begin().await?;
    let canceled = queue::cancel(&mut tx, build.id, job, &format!("canceled by {who}")).await?;
    tx.commit().await?;
    state.bells.outbox.ring();
    state.bells.worker.ring();
    Ok(Json(json!({ "canceled": canceled })))
}
