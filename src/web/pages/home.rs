//! `/`: the latest builds of all repositories; before the first one, the steps that lead to it.

use askama::Template;
use axum::extract;

use super::{Chrome, Page, render};
use crate::web::State;
use crate::web::access::View;
use crate::web::error::Error;
use crate::web::rows::{self, Build};
use crate::web::steps::{Step, steps};

const LIMIT: i64 = 50;

#[derive(Template)]
#[template(path = "home.html")]
struct Home {
    chrome: Chrome,
    builds: Vec<Build>,
    hook: String,
    /// Steps of the setup, for operators.
    steps: Vec<Step>,
    /// True if nobody can log in, so that there is a link for the first operator.
    has_link: bool,
}

pub(in crate::web) async fn page(extract::State(state): extract::State<State>, view: View) -> Result<Page, Error> {
    let builds = rows::latest(&state.db, &view.sight().await?, LIMIT).await?;
    let is_led = builds.is_empty() && view.viewer.is_operator();
    let steps = if is_led { steps(&state).await? } else { Vec::new() };
    let chrome = Chrome::load(&state, &view, true).await?;
    let has_link = chrome.login.is_none();
    render(&Home { chrome, builds, hook: state.public("/webhooks/github"), steps, has_link })
}
