//! The badge for a README: how the last finished build of a branch ended.

use askama::Template;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use sqlx::PgPool;

use super::error::Error;
use crate::domain::{BuildState, RepoName};

/// Width of a character and the padding on both sides, in the badge's units.
const CHARACTER: usize = 7;
const PADDING: usize = 14;

#[derive(Template)]
#[template(path = "badge.svg", escape = "html")]
struct Badge {
    word: &'static str,
    colour: &'static str,
    width: usize,
}

/// Returns the badge of a repository, in Travis's words. Pull requests do not count. An unknown repository looks like
/// one without builds.
pub(super) async fn svg(db: &PgPool, repo: &RepoName, branch: Option<&str>) -> Result<Response, Error> {
    let state: Option<BuildState> = sqlx::query_scalar(
        "select state from build join repo on repo.id = repo_id
         where lower(owner) = lower($1) and lower(name) = lower($2) and branch = coalesce($3, default_branch)
           and kind <> 'pull_request' and build.finished_at is not null
         order by number desc limit 1",
    )
    .bind(repo.owner())
    .bind(repo.name())
    .bind(branch)
    .fetch_optional(db)
    .await?;
    let (word, colour) = match state {
        Some(BuildState::Passed) => ("passing", "#1a7f4b"),
        Some(BuildState::Failed) => ("failing", "#c2313c"),
        Some(BuildState::Errored) => ("error", "#a45a00"),
        Some(BuildState::Canceled) => ("canceled", "#5b6472"),
        _ => ("unknown", "#5b6472"),
    };
    let badge = Badge { word, colour, width: word.len() * CHARACTER + PADDING };
    let headers = [(header::CONTENT_TYPE, "image/svg+xml"), (header::CACHE_CONTROL, "no-cache, max-age=0")];
    Ok((headers, badge.render()?).into_response())
}
