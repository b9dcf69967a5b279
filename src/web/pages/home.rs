//! `/`: the latest builds of all repositories.

use askama::Template;
use axum::extract;

use super::{Chrome, Page, render};
use crate::web::State;
use crate::web::access::View;
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

pub(in crate::web) async fn page(extract::State(state): extract::State<State>, view: View) -> Result<Page, Error> {
    let builds = rows::latest(&state.db, &view.sight().await?, None, LIMIT).await?;
    let chrome = Chrome::load(&state, &view, true).await?;
    render(&Home { chrome, builds, hook: state.public("/webhooks/github") })
}
