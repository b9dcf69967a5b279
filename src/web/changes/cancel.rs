//! Cancels of builds and jobs.

use axum::Json;
use axum::extract;
use serde::Serialize;
use utoipa::ToSchema;

use super::Change;
use crate::store::queue;
use crate::web::State;
use crate::web::error::InJson;

/// Jobs that a request has canceled.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct Canceled {
    /// Number of jobs.
    canceled: u64,
}

/// Cancels every job of a build that has not ended.
#[utoipa::path(post, path = "/api/v1/repos/{owner}/{repo}/builds/{number}/cancel", operation_id = "cancelBuild", tag = "Builds",
    responses((status = 200, description = "The jobs were canceled", body = Canceled)))]
pub(in crate::web) async fn build(
    extract::State(state): extract::State<State>,
    change: Change,
) -> Result<Json<Canceled>, InJson> {
    cancel(&state, change).await
}

/// Cancels a job that has not ended.
#[utoipa::path(post, path = "/api/v1/repos/{owner}/{repo}/builds/{number}/jobs/{job}/cancel", operation_id = "cancelJob", tag = "Jobs",
    responses((status = 200, description = "The job was canceled", body = Canceled)))]
pub(in crate::web) async fn job(
    extract::State(state): extract::State<State>,
    change: Change,
) -> Result<Json<Canceled>, InJson> {
    cancel(&state, change).await
}

async fn cancel(state: &State, Change { who, build, job }: Change) -> Result<Json<Canceled>, InJson> {
    let mut tx = state.db.begin().await?;
    let canceled = queue::cancel(&mut tx, build.id, job, &format!("canceled by {who}")).await?;
    tx.commit().await?;
    state.bells.outbox.ring();
    state.bells.worker.ring();
    Ok(Json(Canceled { canceled }))
}
