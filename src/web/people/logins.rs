//! Logins that are under way, at GitHub or at a provider of OpenID Connect.
//!
//! The parts of a login stand sealed in a cookie of the browser: the state, the nonce, the verifier of PKCE, and the path
//! to return to. So a callback counts only in the browser that has begun the login, once, for a few minutes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use chrono::Utc;
use serde::{Deserialize, Serialize};
use url::Url;

use super::own_path::own_path;
use crate::repo_keys::Seal;
use crate::web::State;
use crate::web::access::secret;
use crate::web::error::Error;

/// Time for a login.
const LASTS: Duration = Duration::from_secs(10 * 60);

/// Place where a person logs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    GitHub,
    Oidc,
}

impl Way {
    /// Returns the name under which the cookie's value is sealed, so that a login at one place is none at the other.
    fn sealed_as(self) -> &'static str {
        match self {
            Self::GitHub => "login with GitHub",
            Self::Oidc => "login with OpenID Connect",
        }
    }
}

/// The seal on logins, and those that are over.
#[derive(Debug, Clone)]
pub struct Logins {
    seal: Arc<Seal>,
    /// States that have come back, with the times at which they are forgotten.
    used: Arc<Mutex<HashMap<Vec<u8>, Instant>>>,
}

/// A login that is under way.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Begun {
    pub(super) state: String,
    /// Text that the provider puts into its token; GitHub has none.
    pub(super) nonce: String,
    pub(super) verifier: String,
    pub(super) return_to: String,
    /// Seconds since 1970.
    until: i64,
}

impl Logins {
    /// Returns logins under this seal.
    pub fn new(seal: Arc<Seal>) -> Self {
        Self { seal, used: Arc::default() }
    }

    /// Begins a login that returns to a path of ours.
    pub(super) fn begin(&self, return_to: &str) -> anyhow::Result<Begun> {
        let until = Utc::now().timestamp() + i64::try_from(LASTS.as_secs()).unwrap_or(0);
        let (state, nonce, verifier) = (secret::new()?, secret::new()?, secret::new()?);
        Ok(Begun { state, nonce, verifier, return_to: own_path(return_to), until })
    }

    fn to_cookie(&self, way: Way, begun: &Begun) -> anyhow::Result<String> {
        let clear = serde_json::to_vec(begun)?;
        Ok(BASE64_URL_SAFE_NO_PAD.encode(self.seal.seal(way.sealed_as(), &clear)?))
    }

    /// Reads a cookie; `None` for one that we have not made, or that is too old.
    fn read(&self, way: Way, cookie: &str) -> Option<Begun> {
        let sealed = BASE64_URL_SAFE_NO_PAD.decode(cookie).ok()?;
        let begun: Begun = serde_json::from_slice(&self.seal.open(way.sealed_as(), &sealed).ok()?).ok()?;
        (begun.until >= Utc::now().timestamp()).then_some(begun)
    }

    /// Returns true at the first time that a state comes back.
    fn is_first(&self, state: &str) -> bool {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.retain(|_, until| *until > Instant::now());
        used.insert(secret::digest(state), Instant::now() + LASTS).is_none()
    }
}

/// Sends the browser to the page where a person logs in, with the parts of the login in a cookie.
pub(super) fn send(state: &State, way: Way, begun: &Begun, url: &Url) -> Result<Response, Error> {
    let cookie = state.logins.to_cookie(way, begun)?;
    let mut response = Redirect::to(url.as_str()).into_response();
    response.headers_mut().append(header::SET_COOKIE, state.access.cookies().set_login(&cookie, LASTS));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Answers a browser that has come back, and ends its login.
pub(super) fn answer(state: &State, finished: Result<Response, Error>) -> Response {
    let mut response = finished.unwrap_or_else(Error::into_response);
    response.headers_mut().append(header::SET_COOKIE, state.access.cookies().end_login());
    response
}

/// Returns the error for a login that `place` has not let through, for this reason in OAuth's words.
pub(super) fn refused(place: &str, error: &str) -> Error {
    let denied = error == "access_denied";
    let why = if denied { "the login was refused there" } else { "the login failed there" };
    Error::Forbidden(format!("{place} says that {why}. Log in again to try it once more."))
}

/// Returns the login that this browser has begun, and that comes back now for the first time.
pub(super) fn begun(state: &State, way: Way, headers: &HeaderMap, returned: Option<&str>) -> Result<Begun, Error> {
    let cookie = state.access.cookies().login(headers);
    let begun = cookie.and_then(|cookie| state.logins.read(way, cookie));
    let begun = begun.filter(|begun| returned.is_some_and(|returned| secret::is_same(returned, &begun.state)));
    let begun = begun.filter(|begun| state.logins.is_first(&begun.state));
    begun.ok_or_else(|| {
        Error::Forbidden("This login did not begin in this browser, or is over. Begin it again.".to_owned())
    })
}
