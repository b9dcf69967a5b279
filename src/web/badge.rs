//! The badge for a README: how the last finished build of a branch ended.

use askama::Template;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use sqlx::PgPool;

use super::access::Repo;
use super::error::Error;
use crate::domain::BuildState;

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

/// Returns the badge of a repository, in Travis's words. Pull requests do not count.
pub(super) async fn svg(db: &PgPool, repo: &Repo, branch: Option<&str>) -> Result<Response, Error> {
    let state: Option<BuildState> = sqlx::query_scalar(
        "select state from build where repo_id = $1 and branch = $2 and kind <> 'pull_request' and finished_at is not null
         order by number desc limit 1",
    )
    .bind(repo.id)
    .bind(branch.unwrap_or(&repo.default_branch))
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
