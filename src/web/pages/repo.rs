//! `/{owner}/{repo}`: a repository's builds, newest first; and its badge, `/{owner}/{repo}.svg`.

use askama::Template;
use axum::extract::{self, Path, Query};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use sqlx::PgPool;

use super::{Chrome, render};
use crate::domain::RepoId;
use crate::store::crons::{self, Cron};
use crate::web::access::{Repo, View};
use crate::web::error::Error;
use crate::web::rows::{self, Build};
use crate::web::{State, badge};

const PAGE: usize = 25;
/// Maximum number of branches that are listed; the address accepts any branch.
const BRANCHES: i64 = 100;

/// Query parameters of the page and of the badge.
#[derive(Debug, Deserialize)]
pub(in crate::web) struct Wanted {
    branch: Option<String>,
    before: Option<i32>,
}

#[derive(Template)]
#[template(path = "repo.html")]
struct RepoPage {
    chrome: Chrome,
    repo: Repo,
    badge: String,
    branches: Vec<String>,
    branch: String,
    builds: Vec<Build>,
    crons: Vec<Cron>,
    first_page: bool,
    /// Number before which the next page begins.
    next: Option<i32>,
}

/// Shows the page, or the badge when the name ends with `.svg`.
pub(in crate::web) async fn page_or_badge(
    extract::State(state): extract::State<State>,
    view: View,
    repo: Repo,
    Path((_, name)): Path<(String, String)>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Error> {
    // The form sends an empty branch for all branches. Postgres has no NUL in text, so no branch has one.
    let branch = wanted.branch.as_deref().filter(|branch| !branch.is_empty());
    if branch.is_some_and(|branch| branch.contains('\0')) {
        return Err(Error::NotFound("branch"));
    }
    if name.ends_with(".svg") {
        return badge::svg(&state.db, &repo, branch).await;
    }
    let limit = i64::try_from(PAGE + 1).unwrap_or(i64::MAX);
    let mut builds = rows::history(&state.db, repo.id, branch, wanted.before, limit).await?;
    let more = builds.len() > PAGE;
    builds.truncate(PAGE);
    let branches = branches(&state.db, repo.id).await?;
    let first_page = wanted.before.is_none();
    let crons = crons::of(&state.db, repo.id).await?;
    let page = RepoPage {
        chrome: Chrome::load(&state, &view, first_page).await?,
        badge: format!("/{}/{}.svg", repo.owner, repo.name),
        branches,
        branch: branch.unwrap_or_default().to_owned(),
        first_page,
        next: if more { builds.last().map(|build| build.number) } else { None },
        builds,
        crons,
        repo,
    };
    Ok(render(&page)?.into_response())
}

/// Lists the branches that were built, the latest first.
pub(in crate::web) async fn branches(db: &PgPool, repo: RepoId) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "select branch from build where repo_id = $1 and branch is not null and kind <> 'pull_request'
         group by branch order by max(number) desc limit $2",
    )
    .bind(repo)
    .bind(BRANCHES)
    .fetch_all(db)
    .await
}
