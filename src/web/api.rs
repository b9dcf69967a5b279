//! JSON API of builds.

use axum::Json;
use axum::extract::{self, Path, Query};
use serde::Deserialize;
use serde_json::{Value, json};

use super::State;
use super::access::Repo;
use super::error::{Error, InJson};
use super::rows::{self, Build, Job};
use crate::store::problems;

const DEFAULT_LIMIT: i64 = 25;
const MAX_LIMIT: i64 = 100;

/// Query parameters of a list of builds.
#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    limit: Option<i64>,
    branch: Option<String>,
    before: Option<i32>,
}

/// `GET /api/v1/repos/{owner}/{repo}/builds`
pub(super) async fn builds(
    extract::State(state): extract::State<State>,
    repo: Repo,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Value>, InJson> {
    let limit = wanted.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT);
    // Postgres has no NUL in text, so no branch has one.
    let branch = wanted.branch.as_deref().filter(|branch| !branch.contains('\0'));
    if wanted.branch.is_some() && branch.is_none() {
        return Err(Error::BadRequest("A branch name cannot contain NUL.".to_owned()).into());
    }
    let builds = rows::history(&state.db, repo.id, branch, wanted.before, limit).await?;
    let builds: Vec<Value> = builds.iter().map(|build| described(&state, build)).collect::<Result<_, _>>()?;
    Ok(Json(json!({ "builds": builds })))
}

/// `GET /api/v1/repos/{owner}/{repo}/builds/{number}`: the build with its jobs and problems.
pub(super) async fn build(
    extract::State(state): extract::State<State>,
    repo: Repo,
    Path((_, _, number)): Path<(String, String, String)>,
) -> Result<Json<Value>, InJson> {
    let build = rows::build(&state.db, &repo, &number).await?;
    let jobs = rows::jobs(&state.db, build.id).await?;
    let mut connection = state.db.acquire().await?;
    let problems = problems::of(&mut connection, build.id).await?;
    let mut described = described(&state, &build)?;
    let jobs: Vec<Value> = jobs.iter().map(|job| described_job(&state, &build, job)).collect::<Result<_, _>>()?;
    described["jobs"] = jobs.into();
    described["problems"] = serde_json::to_value(problems).map_err(anyhow::Error::from)?;
    Ok(Json(described))
}

/// `GET /api/v1/repos/{owner}/{repo}/key`: the public key for `secure:` strings, in the form of Travis's API.
pub(super) async fn key(extract::State(state): extract::State<State>, repo: Repo) -> Result<Json<Value>, InJson> {
    Ok(Json(json!({ "key": state.keys.public(repo.id).await? })))
}

fn described(state: &State, build: &Build) -> anyhow::Result<Value> {
    let mut value = serde_json::to_value(build)?;
    value["url"] = state.public(&build.path()).into();
    Ok(value)
}

fn described_job(state: &State, build: &Build, job: &Job) -> anyhow::Result<Value> {
    let mut value = serde_json::to_value(job)?;
    value["url"] = state.public(&format!("{}/jobs/{}", build.path(), job.number)).into();
    for part in ["log", "series", "resources", "artifacts"] {
        value[format!("{part}_url")] = state.public(&format!("/api/v1/jobs/{}/{part}", job.id)).into();
    }
    Ok(value)
}
