//! Approvals of builds of forks.

use axum::Json;
use axum::extract;
use serde::Serialize;
use utoipa::ToSchema;

use super::Change;
use crate::domain::Sha;
use crate::store::queue;
use crate::web::State;
use crate::web::error::{Error, InJson, Problem};
use crate::web::rows;

/// Commit whose build was approved.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct Approved {
    approved: Sha,
}

/// Lets the jobs of a build run that waits for its approval.
#[utoipa::path(post, path = "/api/v1/repos/{owner}/{repo}/builds/{number}/approve", operation_id = "approveBuild", tag = "Builds",
    responses((status = 200, description = "The build was approved", body = Approved),
        (status = 409, description = "The build waits for no approval", body = Problem)))]
pub(in crate::web) async fn approve(
    extract::State(state): extract::State<State>,
    Change { who, build, .. }: Change,
) -> Result<Json<Approved>, InJson> {
    let mut tx = state.db.begin().await?;
    if !queue::approve(&mut tx, build.id, &who).await? {
        return Err(Error::Conflict(why_not(&build)).into());
    }
    tx.commit().await?;
    state.bells.worker.ring();
    state.bells.outbox.ring();
    Ok(Json(Approved { approved: build.sha }))
}

fn why_not(build: &rows::Build) -> String {
    match (&build.approved_by, build.needs_approval) {
        (Some(who), _) => format!("Build {} was approved by {who} already.", build.number),
        (None, true) => format!("Build {} has ended: push again, and approve the new build.", build.number),
        (None, false) => format!("Build {} needs no approval.", build.number),
    }
}
