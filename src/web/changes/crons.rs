//! Crons of a repository.

use axum::Json;
use axum::extract::{self, Path, Request};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::CronInterval;
use crate::store::crons::{self, Cron};
use crate::web::State;
use crate::web::access::Repo;
use crate::web::changes::requests::check_branch;
use crate::web::error::{Error, InJson, Problem};

const MAX_BODY: usize = 1 << 10;

/// A cron to be set.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = NewCron)]
#[serde(deny_unknown_fields)]
pub(in crate::web) struct Wanted {
    interval: CronInterval,
    /// True if nothing is built when the branch had another build within the last 24 hours.
    #[serde(default)]
    dont_run_if_recent_build_exists: bool,
}

/// Crons of a repository, by branch.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct CronList {
    crons: Vec<Cron>,
}

/// Lists the crons of a repository.
#[utoipa::path(get, path = "/api/v1/repos/{owner}/{repo}/crons", operation_id = "listCrons", tag = "Repositories",
    responses((status = 200, description = "The crons", body = CronList)))]
pub(in crate::web) async fn list(
    extract::State(state): extract::State<State>,
    repo: Repo,
) -> Result<Json<CronList>, InJson> {
    Ok(Json(CronList { crons: crons::of(&state.db, repo.id).await? }))
}

/// Sets the cron of a branch.
#[utoipa::path(put, path = "/api/v1/repos/{owner}/{repo}/crons/{branch}", operation_id = "setCron", tag = "Repositories", request_body = Wanted,
    responses((status = 200, description = "The crons by now", body = CronList),
        (status = 409, description = "The repository has too many crons", body = Problem)))]
pub(in crate::web) async fn set(
    extract::State(state): extract::State<State>,
    repo: Repo,
    Path((_, _, branch)): Path<(String, String, String)>,
    request: Request,
) -> Result<Json<CronList>, InJson> {
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
    Ok(Json(CronList { crons: crons::of(&state.db, repo.id).await? }))
}

/// Removes the cron of a branch.
#[utoipa::path(delete, path = "/api/v1/repos/{owner}/{repo}/crons/{branch}", operation_id = "removeCron", tag = "Repositories",
    responses((status = 200, description = "The crons that are left", body = CronList)))]
pub(in crate::web) async fn remove(
    extract::State(state): extract::State<State>,
    repo: Repo,
    Path((_, _, branch)): Path<(String, String, String)>,
) -> Result<Json<CronList>, InJson> {
    check_branch(&branch)?;
    if !crons::remove(&state.db, repo.id, &branch).await? {
        return Err(Error::NotFound("cron").into());
    }
    Ok(Json(CronList { crons: crons::of(&state.db, repo.id).await? }))
}
