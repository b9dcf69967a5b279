//! `/api`: the description of the JSON API for people, with forms that try its reads.

use std::sync::Arc;

use askama::Template;
use axum::extract;

use super::Document;
use super::shown::Shown;
use crate::web::access::View;
use crate::web::error::Error;
use crate::web::pages::{Chrome, Page, render};
use crate::web::{State, assets};

#[derive(Template)]
#[template(path = "api.html")]
struct ApiPage {
    chrome: Chrome,
    document: Arc<Document>,
    /// Address of the script of the forms.
    forms: String,
}

impl ApiPage {
    fn shown(&self) -> &Shown {
        &self.document.shown
    }
}

/// `GET /api`
pub(in crate::web) async fn page(extract::State(state): extract::State<State>, view: View) -> Result<Page, Error> {
    let document = state.api.document().ok_or_else(|| anyhow::anyhow!("the API has no description"))?;
    let chrome = Chrome::load(&state, &view, false).await?;
    render(&ApiPage { chrome, document, forms: assets::url("api.js") })
}
