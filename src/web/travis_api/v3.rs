//! Travis's API, version 3, for its clients: reading of repositories, builds, jobs and logs. Resources have the fields of
//! their standard representation (developer.travis-ci.com, travis-api's lib/travis/api/v3).

use axum::Json;
use axum::extract::{self, Path, Query};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::rows::{self, Build, Repo};
use crate::domain::{AttemptId, BuildId, Right};
use crate::store::output::log_objects;
use crate::web::State;
use crate::web::access::{self, OfBuild, OfJob, View};
use crate::web::error::{Error, InTravisForm};

/// Default and maximum number of builds in a list, as on Travis.
const DEFAULT_LIMIT: i64 = 25;
const MAX_LIMIT: i64 = 100;
/// Maximum offset in a list. What is before it has to be read, too.
const MAX_OFFSET: i64 = 100_000;
/// Maximum size of a log in JSON, in bytes: the last part of a longer one. The answer has it twice, in memory.
/// `log.txt` has all of it.
const MAX_LOG: i64 = 512 << 10;

type Answer = Result<Json<Value>, InTravisForm>;

/// Query parameters of a list of builds.
#[derive(Debug, Deserialize)]
pub(in crate::web) struct Wanted {
    limit: Option<i64>,
    offset: Option<i64>,
    include: Option<String>,
    #[serde(rename = "branch.name")]
    branch: Option<String>,
}

/// Query parameters of a cctray document.
#[derive(Debug, Deserialize)]
pub(in crate::web) struct Branch {
    branch: Option<String>,
}

/// `GET /repo/{slug or id}`
pub(in crate::web) async fn repo(extract::State(state): extract::State<State>, repo: access::Repo) -> Answer {
    Ok(Json(found(&state, &repo).await?.described()))
}

/// `GET /repo/{slug or id}/builds`
pub(in crate::web) async fn builds(
    extract::State(state): extract::State<State>,
    repo: access::Repo,
    Query(wanted): Query<Wanted>,
) -> Answer {
    let limit = wanted.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT);
    let offset = wanted.offset.unwrap_or(0).clamp(0, MAX_OFFSET);
    let branch = wanted.branch.as_deref().filter(|branch| !branch.contains('\0'));
    let (builds, count) = rows::builds(&state.db, repo.id, branch, offset, limit).await?;
    let with_jobs = wanted.include.is_some_and(|include| include.split(',').any(|it| it == "build.jobs"));
    let builds = described(&state, &builds, with_jobs, repo.right >= Right::Write).await?;
    let href = |offset: i64| {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("limit", &limit.to_string()).append_pair("offset", &offset.to_string());
        if let Some(branch) = branch {
            query.append_pair("branch.name", branch);
        }
        if with_jobs {
            query.append_pair("include", "build.jobs");
        }
        format!("/repo/{}/builds?{}", repo.id.0, query.finish())
    };
    let page = |offset: i64| json!({"@href": href(offset), "offset": offset, "limit": limit});
    let next = offset + limit;
    Ok(Json(json!({
        "@type": "builds", "@href": href(offset), "@representation": "standard",
        "@pagination": {
            "limit": limit, "offset": offset, "count": count, "is_first": offset == 0, "is_last": next >= count,
            "next": (next < count).then(|| page(next)),
            "prev": (offset > 0).then(|| page((offset - limit).max(0))),
            "first": page(0), "last": page((count - 1).max(0) / limit * limit),
        },
        "builds": builds,
    })))
}

/// `GET /build/{id}`
pub(in crate::web) async fn build(
    extract::State(state): extract::State<State>,
    OfBuild(id): OfBuild,
    repo: access::Repo,
) -> Answer {
    let build = rows::build(&state.db, id).await?.ok_or(Error::NotFound("build"))?;
    let described = described(&state, std::slice::from_ref(&build), false, repo.right >= Right::Write).await?;
    Ok(Json(described.into_iter().next().unwrap_or_default()))
}

/// `GET /build/{id}/jobs`
pub(in crate::web) async fn jobs(
    extract::State(state): extract::State<State>,
    OfBuild(id): OfBuild,
    repo: access::Repo,
) -> Answer {
    let build = rows::build(&state.db, id).await?.ok_or(Error::NotFound("build"))?;
    let jobs = rows::jobs(&state.db, &[build.id]).await?;
    let jobs: Vec<Value> = jobs.iter().map(|job| job.described(&build, repo.right >= Right::Write)).collect();
    Ok(Json(json!({
        "@type": "jobs", "@href": format!("/build/{id}/jobs"), "@representation": "standard", "jobs": jobs,
    })))
}

/// `GET /job/{id}`
pub(in crate::web) async fn job(
    extract::State(state): extract::State<State>,
    OfJob(id): OfJob,
    repo: access::Repo,
) -> Answer {
    let job = rows::job(&state.db, id).await?.ok_or(Error::NotFound("job"))?;
    let build = rows::build(&state.db, job.build_id).await?.ok_or(Error::NotFound("build"))?;
    Ok(Json(job.described(&build, repo.right >= Right::Write)))
}

/// `GET /job/{id}/log`
pub(in crate::web) async fn log(extract::State(state): extract::State<State>, OfJob(id): OfJob) -> Answer {
    let job = rows::job(&state.db, id).await?.ok_or(Error::NotFound("job"))?;
    let start = (job.log_length - MAX_LOG).max(0);
    let content = String::from_utf8_lossy(&text(&state, &job, start).await?).into_owned();
    let part = json!({"content": content, "final": job.finished_at.is_some(), "number": 0});
    Ok(Json(json!({
        "@type": "log", "@href": format!("/job/{id}/log"), "@representation": "standard", "id": id,
        "content": content, "log_parts": [part], "@raw_log_href": format!("/job/{id}/log.txt"),
    })))
}

async fn text(state: &State, job: &rows::Job, start: i64) -> Result<Vec<u8>, Error> {
    let attempt = AttemptId { job: job.id, number: job.attempt };
    if let Some(why) = log_objects::removed(&state.db, attempt).await? {
        return Err(Error::Gone(format!("The log of this job is no longer here: {why}.")));
    }
    let mut text = Vec::new();
    while start + i64::try_from(text.len()).unwrap_or(i64::MAX) < job.log_length {
        let offset = start + i64::try_from(text.len()).unwrap_or(i64::MAX);
        let piece = state.logs.read(attempt, offset, 1 << 20).await?.bytes;
        if piece.is_empty() {
            break;
        }
        text.extend_from_slice(&piece);
    }
    Ok(text)
}

/// `GET /owner/{login}/active`: the builds of an owner that are not finished.
pub(in crate::web) async fn active(
    extract::State(state): extract::State<State>,
    view: View,
    Path(login): Path<String>,
) -> Answer {
    if login.contains('\0') {
        return Err(Error::NotFound("owner").into());
    }
    let builds = rows::active(&state.db, &view.sight().await?, &login, MAX_LIMIT).await?;
    // The right in each repository is not asked for here.
    let builds = described(&state, &builds, false, false).await?;
    Ok(Json(json!({
        "@type": "active", "@href": format!("/owner/{login}/active"), "@representation": "standard", "builds": builds,
    })))
}

/// Describes builds: with whole jobs, or with their ids alone.
async fn described(state: &State, builds: &[Build], with_jobs: bool, may_write: bool) -> Result<Vec<Value>, Error> {
    let ids: Vec<BuildId> = builds.iter().map(|build| build.id).collect();
    let jobs = rows::jobs(&state.db, &ids).await?;
    let of = |build: &Build| -> Vec<Value> {
        let own = jobs.iter().filter(|job| job.build_id == build.id);
        own.map(|job| if with_jobs { job.described(build, may_write) } else { job.minimal() }).collect()
    };
    Ok(builds.iter().map(|build| build.described(of(build), may_write)).collect())
}

/// Reads the repository that the gate has found.
async fn found(state: &State, repo: &access::Repo) -> Result<Repo, Error> {
    rows::repo(&state.db, repo.id).await?.ok_or(Error::NotFound("repository"))
}

/// `GET /repos/{owner}/{repo}/cc.xml`: the repository for CCTray and CCMenu.
pub(in crate::web) async fn cctray(
    extract::State(state): extract::State<State>,
    repo: access::Repo,
    Query(wanted): Query<Branch>,
) -> Result<Response, InTravisForm> {
    let branch = wanted.branch.as_deref().filter(|branch| !branch.contains('\0'));
    let latest = rows::latest(&state.db, repo.id, branch).await?;
    let project = latest.map(|latest| latest.project(&state.public(""))).unwrap_or_default();
    let xml = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Projects>\n{project}</Projects>\n");
    Ok(([(header::CONTENT_TYPE, "application/xml;charset=utf-8"), (header::CACHE_CONTROL, "no-cache")], xml)
        .into_response())
}
