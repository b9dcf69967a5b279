//! `/setup`: from a fresh server to the first build. A link with a secret makes the first operator; all else is for
//! operators.

pub(super) mod github;
mod registrations;
pub(super) mod start;

use std::net::SocketAddr;

use askama::Template;
use axum::extract;

use self::github::{Examined, examine};
use self::registrations::Registrations;
pub use self::start::make_link;
use super::State;
use super::access::View;
use super::error::Error;
use super::pages::{Chrome, Page, render};
use super::show::Mark;
use super::steps::{Step, steps};
use crate::registration::Stored;

/// The credentials that the pages of the setup store, and the registrations that are under way.
#[derive(Debug, Clone)]
pub struct Setup {
    pub(super) stored: Stored,
    registrations: Registrations,
    /// True if the configuration has an App, which no other takes the place of.
    has_configured_app: bool,
    /// Address of `server.listen`, if the service does not listen there, as nobody could log in at its start.
    pub(super) closed: Option<SocketAddr>,
}

impl Setup {
    /// Returns the setup of a service with these credentials. `closed` is the address of `server.listen` if the service
    /// listens at the loopback instead.
    pub fn new(stored: Stored, has_configured_app: bool, closed: Option<SocketAddr>) -> Self {
        Self { stored, registrations: Registrations::default(), has_configured_app, closed }
    }
}

#[derive(Template)]
#[template(path = "setup.html")]
struct SetupPage {
    chrome: Chrome,
    steps: Vec<Step>,
    /// State of the App at GitHub; `None` without an App.
    app: Option<Examined>,
    has_configured_app: bool,
    /// Reason why an App that is registered now would not work.
    warning: Option<String>,
}

/// `GET /setup`
pub(super) async fn page(extract::State(state): extract::State<State>, view: View) -> Result<Page, Error> {
    let (steps, app) = tokio::try_join!(steps(&state), examine(&state))?;
    let chrome = Chrome::load(&state, &view, false).await?;
    let has_configured_app = state.setup.has_configured_app;
    render(&SetupPage { chrome, steps, app, has_configured_app, warning: github::warning(&state) })
}
