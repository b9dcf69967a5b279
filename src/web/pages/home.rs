//! `/`: the latest builds of all repositories.

use askama::Template;
use axum::extract;

use super::{Chrome, Page, render};
use crate::web::State;
use crate::web::error::Error;
use crate::web::rows::{self, Build};

const LIMIT: i64 = 50;

#[derive(Template)]
#[template(path = "home.html")]
struct Home {
    chrome: Chrome,
    builds: Vec<Build>,
    hook: String,
}

pub(in crate::web) async fn page(extract::State(state): extract::State<State>) -> Result<Page, Error> {
    let builds = rows::latest(&state.db, LIMIT).await?;
    let chrome = Chrome::load(&state.db, true).await?;
    render(&Home { chrome, builds, hook: state.public("/webhooks/github") })
}
