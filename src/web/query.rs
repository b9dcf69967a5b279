//! The query of a request to the JSON API. One that cannot be read gets an answer in JSON, too.

use axum::extract::FromRequestParts;
use axum::extract::rejection::QueryRejection;

use super::error::{Error, InJson};

/// The fields of a query.
#[derive(Debug, FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(InJson))]
pub(super) struct Query<T>(pub(super) T);

impl From<QueryRejection> for Error {
    fn from(rejection: QueryRejection) -> Self {
        Self::BadRequest(format!("{}.", rejection.body_text().trim_end_matches('.')))
    }
}
