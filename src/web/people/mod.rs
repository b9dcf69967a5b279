//! Logins and logouts, the tokens that people make, and the record of changes.

pub(super) mod audit;
pub(super) mod form;
pub(super) mod github;
pub(super) mod login;
mod own_path;
pub(super) mod tokens;
mod tries;

pub use self::github::Logins;
pub use self::tries::Tries;

use axum::http::{Extensions, HeaderMap, header};
use axum::response::{IntoResponse as _, Redirect, Response};

use super::State;
use super::access::{address, secret};
use super::error::Error;
use crate::domain::PersonId;
use crate::store::people::sessions;

/// Begins a session of a person, and sends the browser to a path of ours. The session that the browser had before ends,
/// and its cookie gets a value that nobody else can know.
pub(super) async fn begin_session(
    state: &State,
    extensions: &Extensions,
    headers: &HeaderMap,
    (person, name): (PersonId, &str),
    return_to: &str,
) -> Result<Response, Error> {
    let cookies = state.access.cookies();
    if let Some(old) = cookies.session(headers) {
        sessions::end_of(&state.db, &secret::digest(old)).await?;
    }
    let value = secret::new()?;
    sessions::insert(&state.db, person, &secret::digest(&value), &secret::new()?).await?;
    state.access.record(name, "log in", "", address(extensions, headers)).await;
    let mut response = Redirect::to(&own_path::own_path(return_to)).into_response();
    response.headers_mut().append(header::SET_COOKIE, cookies.set_session(&value));
    Ok(response)
}
