//! Crons of a repository.

use axum::Json;
use axum::extract::{self, Path, Request};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::domain::CronInterval;
use crate::store::crons;
use crate::web::State;
use crate::web::access::Repo;
use crate::web::changes::requests::check_branch;
use crate::web::error::{Error, InJson};

const MAX_BODY: usize = 1 << 10;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    interval: CronInterval,
    #[serde(default)]
    dont_run_if_recent_build_exists: bool,
}

/// `GET /api/v1/repos/{owner}/{repo}/crons`
pub(in crate::web) async fn list(
    extract::State(state): extract::State<State>,
    repo: Repo,
) -> Result<Json<Value>, InJson> {
    Ok(Json(json!({ "crons": crons::of(&state.db, repo.id).await? })))
}

/// `PUT /api/v1/repos/{owner}/{repo}/crons/{branch}`: sets the cron of a branch.
pub(in crate::web) async fn set(
    extract::State(state): extract::State<State>,
    repo: Repo,
    Path((_, _, branch)): Path<(String, String, String)>,
    request: Request,
) -> Result<Json<Value>, InJson> {
    check_branch(&branch)?;
    let received = state.webhook_room.receive(request.into_body(), MAX_BODY).await?;
    let wanted: Option<Wanted> = serde_json::from_slice(&received.bytes).ok();
    let Wanted { interval, dont_run_if_recent_build_exists } = wanted.ok_or_else(|| {
        let form = "{\"interval\": \"daily\", \"dont_run_if_recent_build_exists\": false}";
        Error::BadRequest(format!("The body has to be like {form}. Intervals are daily, weekly and monthly."))
    })?;
    let mut tx = state.db.begin().await?;
    if !crons::set(&mut tx, repo.id, &branch, interval, dont_run_if_recent_build_exists).await? {
        return Err(Error::Conflict(format!("A repository has at most {} crons.", crons::MAX_CRONS)).into());
    }
    tx.commit().await?;
    Ok(Json(json!({ "crons": crons::of(&state.db, repo.id).await? })))
}

/// `DELETE /api/v1/repos/{owner}/{repo}/crons/{branch}`
pub(in crate::web) async fn remove(
    extract::State(state): extract::State<State>,
    repo: Repo,
    Path((_, _, branch)): Path<(String, String, String)>,
) -> Result<Json<Value>, InJson> {
    check_branch(&branch)?;
    if !crons::remove(&state.db, repo.id, &branch).await? {
        return Err(Error::NotFound("cron").into());
    }
    Ok(Json(json!({ "crons": crons::of(&state.db, repo.id).await? })))
}
