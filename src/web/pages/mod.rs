//! The pages. Each file is one page: its queries, its template's fields, and its handler.

pub(super) mod build;
pub(super) mod deliveries;
mod error;
pub(super) mod home;
pub(super) mod job;
pub(super) mod repo;
mod ranking;
mod training;
pub(super) mod runners;

use askama::Template;
use axum::response::Html;

use super::access::{InBrowser, View, Viewer};
use super::error::Error;
use super::{State, assets};
use crate::store::alerts::{self, Alert};

/// The frame around every page.
#[derive(Debug)]
pub(super) struct Chrome {
    pub(in crate::web) alerts: Vec<Alert>,
    /// True when the page reloads by itself where scripts are disabled.
    pub(in crate::web) refresh: bool,
    /// The person who is logged in.
    pub(in crate::web) person: Option<InBrowser>,
    /// Path of the login; `None` if nobody can log in.
    pub(in crate::web) login: Option<String>,
    /// True if the page of runners is for the viewer.
    pub(in crate::web) has_runners: bool,
    /// True if the page of deliveries is for the viewer.
    pub(in crate::web) has_deliveries: bool,
    /// True if the viewer is an operator.
    pub(in crate::web) is_operator: bool,
    pub(in crate::web) stylesheet: String,
    pub(in crate::web) script: String,
    pub(in crate::web) icon: String,
}

impl Chrome {
    /// Returns the frame of a page that does not query Postgres.
    pub(super) fn plain(refresh: bool) -> Self {
        Self {
            alerts: Vec::new(),
            refresh,
            person: None,
            login: None,
            has_runners: true,
            has_deliveries: true,
            is_operator: false,
            stylesheet: assets::url("app.css"),
            script: assets::url("app.js"),
            icon: assets::url("icon.svg"),
        }
    }

    /// Returns the text that forms and scripts of the page send back; empty without a session.
    pub(in crate::web) fn csrf(&self) -> &str {
        self.person.as_ref().map_or("", |person| &person.csrf)
    }

    pub(in crate::web) fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    /// Returns the frame of a page for a viewer.
    pub(in crate::web) async fn load(state: &State, view: &View, refresh: bool) -> Result<Self, Error> {
        // Alerts name repositories and machines.
        let alerts = if view.sees_alerts() { alerts::all(&state.db).await? } else { Vec::new() };
        let person = match &*view.viewer {
            Viewer::Person(person) => Some(person.clone()),
            _ => None,
        };
        Ok(Self {
            alerts,
            person,
            login: state.access.has_login().await?.then(|| view.login.clone()),
            has_runners: view.is_open || !matches!(*view.viewer, Viewer::Anonymous),
            has_deliveries: view.is_open || view.viewer.is_operator(),
            is_operator: view.viewer.is_operator(),
            ..Self::plain(refresh)
        })
    }
}

/// A page as a response that browsers revalidate each time.
pub(super) type Page = ([(axum::http::HeaderName, &'static str); 1], Html<String>);

pub(super) fn render(page: &impl Template) -> Result<Page, Error> {
    Ok(([(axum::http::header::CACHE_CONTROL, "no-cache")], Html(page.render()?)))
}
