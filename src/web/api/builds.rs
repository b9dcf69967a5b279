//! Builds.

use axum::Json;
use axum::extract::{self, Path};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::described::{BuildAnswer, JobAnswer};
use crate::domain::{BuildId, Problem};
use crate::store::problems;
use crate::web::State;
use crate::web::access::{Repo, View};
use crate::web::error::{Error, InJson};
use crate::web::paging::{Paged, Paging};
use crate::web::query::Query;
use crate::web::rows::{self, Build, Told};

/// Builds, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct BuildList {
    builds: Vec<BuildAnswer>,
    /// The `before` of the next page; null on the last page.
    next: Option<i64>,
}

/// A build with its jobs, its problems and its notifications.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct WholeBuild {
    #[serde(flatten)]
    build: BuildAnswer,
    jobs: Vec<JobAnswer>,
    problems: Vec<Problem>,
    /// Notifications that were tried.
    notifications: Vec<Told>,
}

/// Query parameters of a repository's builds.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::web) struct Wanted {
    /// Number of builds, from 1 to 100. 25 if it is missing.
    limit: Option<i64>,
    /// Only builds pushed to this branch.
    branch: Option<String>,
    /// Only builds with smaller numbers: the `next` of the page before.
    before: Option<i32>,
}

/// Query parameters of all builds.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::web) struct WantedOfAll {
    /// Number of builds, from 1 to 100. 25 if it is missing.
    limit: Option<i64>,
    /// Only builds with smaller ids: the `next` of the page before.
    before: Option<i64>,
}

/// Lists the builds of all repositories that you may read, the newest first.
#[utoipa::path(get, path = "/api/v1/builds", operation_id = "listAllBuilds", tag = "Builds", params(WantedOfAll),
    responses((status = 200, description = "A page of builds", body = BuildList)))]
pub(in crate::web) async fn all(
    extract::State(state): extract::State<State>,
    view: View,
    paging: Paging,
    Query(wanted): Query<WantedOfAll>,
) -> Result<Paged<BuildList>, InJson> {
    let limit = Paging::limit(wanted.limit);
    let mut builds = rows::latest(&state.db, &view.sight().await?, wanted.before.map(BuildId), limit + 1).await?;
    let next = Paging::cut(&mut builds, limit, |build| build.id.0);
    Ok(page(&state, &paging, builds, next))
}

/// Lists the builds of a repository, the newest first.
#[utoipa::path(get, path = "/api/v1/repos/{owner}/{repo}/builds", operation_id = "listBuilds", tag = "Builds",
    params(Wanted), responses((status = 200, description = "A page of builds", body = BuildList)))]
pub(in crate::web) async fn of_repo(
    extract::State(state): extract::State<State>,
    repo: Repo,
    paging: Paging,
    Query(wanted): Query<Wanted>,
) -> Result<Paged<BuildList>, InJson> {
    let limit = Paging::limit(wanted.limit);
    // Postgres has no NUL in text, so no branch has one.
    let branch = wanted.branch.as_deref().filter(|branch| !branch.contains('\0'));
    if wanted.branch.is_some() && branch.is_none() {
        return Err(Error::BadRequest("A branch name cannot contain NUL.".to_owned()).into());
    }
    let mut builds = rows::history(&state.db, repo.id, branch, wanted.before, limit + 1).await?;
    let next = Paging::cut(&mut builds, limit, |build| build.number.into());
    Ok(page(&state, &paging, builds, next))
}

fn page(state: &State, paging: &Paging, builds: Vec<Build>, next: Option<i64>) -> Paged<BuildList> {
    let builds = builds.into_iter().map(|build| BuildAnswer::new(state, build)).collect();
    paging.answer(BuildList { builds, next }, next.map(|key| key.to_string()))
}

/// Returns a build with its jobs, its problems and its notifications.
#[utoipa::path(get, path = "/api/v1/repos/{owner}/{repo}/builds/{number}", operation_id = "getBuild", tag = "Builds",
    responses((status = 200, description = "The build", body = WholeBuild)))]
pub(in crate::web) async fn one(
    extract::State(state): extract::State<State>,
    repo: Repo,
    Path((_, _, number)): Path<(String, String, String)>,
) -> Result<Json<WholeBuild>, InJson> {
    let build = rows::build(&state.db, &repo, &number).await?;
    let jobs = rows::jobs(&state.db, build.id).await?;
    let mut connection = state.db.acquire().await?;
    let problems = problems::of(&mut connection, build.id).await?;
    drop(connection);
    let notifications = rows::told(&state.db, build.id).await?;
    let jobs = jobs.into_iter().map(|job| JobAnswer::new(&state, &build, job)).collect();
    Ok(Json(WholeBuild { build: BuildAnswer::new(&state, build), jobs, problems, notifications }))
}
