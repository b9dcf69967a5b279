//! Restarts of builds and jobs.

use axum::Json;
use axum::extract;
use serde_json::{Value, json};
use tracing::info;

use super::Change;
use crate::store::queue;
use crate::web::State;
use crate::web::error::{Error, InJson};

/// `POST /api/v1/repos/{owner}/{repo}/builds/{number}/restart`: runs every job of a build again that has ended. Below
/// `jobs/{job}`, it runs a single job again.
pub(in crate::web) async fn restart(
    extract::State(state): extract::State<State>,
    Change { who, build, job }: Change,
) -> Result<Json<Value>, InJson> {
    let mut tx = state.db.begin().await?;
    let restarted = queue::restart(&mut tx, build.id, job, &who).await?;
    let restarted = restarted.map_err(|refused| Error::Conflict(refused.to_string()))?;
    tx.commit().await?;
    info!("{who} has restarted {restarted} jobs of {}/{}#{}", build.owner, build.name, build.number);
    state.bells.outbox.ring();
    state.bells.worker.ring();
    Ok(Json(json!({ "restarted": restarted })))
}
