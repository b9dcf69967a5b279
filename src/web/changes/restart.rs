//! Restarts of builds and jobs.

use axum::Json;
use axum::extract;
use serde::Serialize;
use tracing::info;
use utoipa::ToSchema;

use super::Change;
use crate::store::queue;
use crate::web::State;
use crate::web::error::{Error, InJson, Problem};

/// Jobs that a request has restarted.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct Restarted {
    /// Number of jobs.
    restarted: u64,
}

/// Runs every job of a build again that has ended.
#[utoipa::path(post, path = "/api/v1/repos/{owner}/{repo}/builds/{number}/restart", operation_id = "restartBuild", tag = "Builds",
    responses((status = 200, description = "The jobs wait again", body = Restarted),
        (status = 409, description = "It has not ended, or was restarted too often", body = Problem)))]
pub(in crate::web) async fn build(
    extract::State(state): extract::State<State>,
    change: Change,
) -> Result<Json<Restarted>, InJson> {
    restart(&state, change).await
}

/// Runs a job again that has ended.
#[utoipa::path(post, path = "/api/v1/repos/{owner}/{repo}/builds/{number}/jobs/{job}/restart", operation_id = "restartJob", tag = "Jobs",
    responses((status = 200, description = "The job waits again", body = Restarted),
        (status = 409, description = "It has not ended, or was restarted too often", body = Problem)))]
pub(in crate::web) async fn job(
    extract::State(state): extract::State<State>,
    change: Change,
) -> Result<Json<Restarted>, InJson> {
    restart(&state, change).await
}

async fn restart(state: &State, Change { who, build, job }: Change) -> Result<Json<Restarted>, InJson> {
    let mut tx = state.db.begin().await?;
    let restarted = queue::restart(&mut tx, build.id, job, &who).await?;
    let restarted = restarted.map_err(|refused| Error::Conflict(refused.to_string()))?;
    tx.commit().await?;
    info!("{who} has restarted {restarted} jobs of {}/{}#{}", build.owner, build.name, build.number);
    state.bells.outbox.ring();
    state.bells.worker.ring();
    Ok(Json(Restarted { restarted }))
}
