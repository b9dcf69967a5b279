//! `/audit`: the record of changes and logins, for operators.

use askama::Template;
use axum::extract::{self, Query};
use serde::Deserialize;

use crate::store::people::audit::{self, Entry};
use crate::web::State;
use crate::web::access::View;
use crate::web::error::Error;
use crate::web::pages::{Chrome, Page, render};
use crate::web::show::When;

const PAGE: i64 = 100;

/// Query parameters of the page.
#[derive(Debug, Deserialize)]
pub(in crate::web) struct Wanted {
    before: Option<i64>,
}

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage {
    chrome: Chrome,
    entries: Vec<Entry>,
    is_first: bool,
    /// Number before which the next page begins.
    next: Option<i64>,
}

/// `GET /audit`
pub(in crate::web) async fn page(
    extract::State(state): extract::State<State>,
    view: View,
    Query(wanted): Query<Wanted>,
) -> Result<Page, Error> {
    let mut entries = audit::list(&state.db, wanted.before, PAGE + 1).await?;
    let most = usize::try_from(PAGE).unwrap_or(usize::MAX);
    let more = entries.len() > most;
    entries.truncate(most);
    let next = entries.last().filter(|_| more).map(|entry| entry.id);
    let chrome = Chrome::load(&state, &view, false).await?;
    render(&AuditPage { chrome, entries, is_first: wanted.before.is_none(), next })
}

impl AuditPage {
    fn when(entry: &Entry) -> When {
        When::new(entry.at)
    }
}
