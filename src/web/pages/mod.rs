//! The pages. Each file is one page: its queries, its template's fields, and its handler.

pub(super) mod build;
pub(super) mod deliveries;
mod error;
pub(super) mod home;
pub(super) mod job;
pub(super) mod repo;
mod smoke;
pub(super) mod runners;

use askama::Template;
use axum::response::Html;
use sqlx::PgPool;

use super::assets;
use super::error::Error;
use crate::store::alerts::{self, Alert};

/// The frame around every page.
#[derive(Debug)]
pub(super) struct Chrome {
    pub(in crate::web) alerts: Vec<Alert>,
    /// True when the page reloads by itself where scripts are disabled.
    pub(in crate::web) refresh: bool,
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
            stylesheet: assets::url("app.css"),
            script: assets::url("app.js"),
            icon: assets::url("icon.svg"),
        }
    }

    pub(in crate::web) fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    async fn load(db: &PgPool, refresh: bool) -> Result<Self, Error> {
        Ok(Self { alerts: alerts::all(db).await?, ..Self::plain(refresh) })
    }
}

/// A page as a response that browsers revalidate each time.
type Page = ([(axum::http::HeaderName, &'static str); 1], Html<String>);

fn render(page: &impl Template) -> Result<Page, Error> {
    Ok(([(axum::http::header::CACHE_CONTROL, "no-cache")], Html(page.render()?)))
}
