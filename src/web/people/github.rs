//! The login with GitHub: to GitHub and back.
//!
//! The parts of a login stand sealed in a cookie of the browser: the state, the verifier of PKCE, and the path to
//! return to. So a callback counts only in the browser that has begun the login, once, for a few minutes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{self, Query};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use chrono::Utc;
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::login::Wanted;
use super::own_path::own_path;
use crate::domain::PersonId;
use crate::github::{CALLBACK, GitHubUser};
use crate::repo_keys::Seal;
use crate::store::people::{permissions, persons};
use crate::web::State;
use crate::web::access::{address, secret};
use crate::web::error::Error;

/// Time for a login.
const LASTS: Duration = Duration::from_secs(10 * 60);
/// Name under which the cookie's value is sealed.
const SEALED_AS: &str = "login with GitHub";

/// The seal on logins, and those that are over.
#[derive(Debug, Clone)]
pub struct Logins {
    seal: Arc<Seal>,
    /// States that have come back, with the times at which they are forgotten.
    used: Arc<Mutex<HashMap<Vec<u8>, Instant>>>,
}

/// A login that is under way.
#[derive(Debug, Serialize, Deserialize)]
struct Begun {
    state: String,
    verifier: String,
    return_to: String,
    /// Seconds since 1970.
    until: i64,
}

/// Query parameters with which GitHub sends a browser back.
#[derive(Debug, Deserialize)]
pub(in crate::web) struct Returned {
    code: Option<String>,
    state: Option<String>,
    error: Option<String>,
}

impl Logins {
    /// Returns logins under this seal.
    pub fn new(seal: Arc<Seal>) -> Self {
        Self { seal, used: Arc::default() }
    }

    fn to_cookie(&self, begun: &Begun) -> anyhow::Result<String> {
        let clear = serde_json::to_vec(begun)?;
        Ok(BASE64_URL_SAFE_NO_PAD.encode(self.seal.seal(SEALED_AS, &clear)?))
    }

    /// Reads a cookie; `None` for one that we have not made, or that is too old.
    fn read(&self, cookie: &str) -> Option<Begun> {
        let sealed = BASE64_URL_SAFE_NO_PAD.decode(cookie).ok()?;
        let begun: Begun = serde_json::from_slice(&self.seal.open(SEALED_AS, &sealed).ok()?).ok()?;
        (begun.until >= Utc::now().timestamp()).then_some(begun)
    }

    /// Returns true at the first time that a state comes back.
    fn is_first(&self, state: &str) -> bool {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.retain(|_, until| *until > Instant::now());
        used.insert(secret::digest(state), Instant::now() + LASTS).is_none()
    }
}

/// `GET /login/github`: begins a login, and sends the browser to GitHub.
pub(in crate::web) async fn begin(
    extract::State(state): extract::State<State>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Error> {
    let client = state.access.github_login().ok_or(Error::NotFound("login"))?;
    let (nonce, verifier) = (secret::new()?, secret::new()?);
    let url =
        state.access.github().authorize_url(&client, &state.public(CALLBACK), &nonce, &secret::challenge(&verifier));
    let until = Utc::now().timestamp() + i64::try_from(LASTS.as_secs()).unwrap_or(0);
    let begun = Begun { state: nonce, verifier, return_to: own_path(&wanted.return_to), until };
    let cookie = state.logins.to_cookie(&begun)?;
    let mut response = Redirect::to(url.as_str()).into_response();
    response.headers_mut().append(header::SET_COOKIE, state.access.cookies().set_login(&cookie, LASTS));
    response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    Ok(response)
}

/// `GET /login/github/callback`: the browser comes back from GitHub.
pub(in crate::web) async fn callback(
    extract::State(state): extract::State<State>,
    Query(returned): Query<Returned>,
    request: Parts,
) -> Response {
    let finished = finish(&state, returned, &request).await;
    let mut response = finished.unwrap_or_else(Error::into_response);
    response.headers_mut().append(header::SET_COOKIE, state.access.cookies().end_login());
    response
}

async fn finish(state: &State, returned: Returned, request: &Parts) -> Result<Response, Error> {
    let client = state.access.github_login().ok_or(Error::NotFound("login"))?;
    let begun = begun(state, &request.headers, returned.state.as_deref())?;
    if let Some(error) = returned.error {
        let denied = error == "access_denied";
        let why = if denied { "the login was refused there" } else { "the login failed there" };
        return Err(Error::Forbidden(format!("GitHub says that {why}. Log in again to try it once more.")));
    }
    let code = returned.code.ok_or_else(|| Error::BadRequest("GitHub has sent no code.".to_owned()))?;
    let from = address(&request.extensions, &request.headers);
    state.tries.begin("", from)?;
    let github = state.access.github();
    let user = github.user_of_code(&client, &code, &state.public(CALLBACK), &begun.verifier).await;
    let user = user.map_err(|error| {
        warn!("a login with GitHub failed: {error}");
        Error::Forbidden("GitHub does not confirm the login. The server's log has the reason. Try it again.".to_owned())
    })?;
    let person = admit(state, &user).await?;
    let Some(person) = person else {
        state.access.record(&user.login, "refused login", "no right in any repository", from).await;
        return Err(Error::Forbidden(format!(
            "{} has no right in any repository here. An admin of a repository can add you at GitHub, or the operator can \
             name you in auth.admins.",
            user.login
        )));
    };
    state.tries.succeed("", from);
    let who = (person, user.login.as_str());
    super::begin_session(state, &request.extensions, &request.headers, who, &begun.return_to).await
}

/// Returns the login that this browser has begun, and that comes back now for the first time.
fn begun(state: &State, headers: &HeaderMap, returned: Option<&str>) -> Result<Begun, Error> {
    let cookie = state.access.cookies().login(headers);
    let begun = cookie.and_then(|cookie| state.logins.read(cookie));
    let begun = begun.filter(|begun| returned.is_some_and(|returned| secret::is_same(returned, &begun.state)));
    let begun = begun.filter(|begun| state.logins.is_first(&begun.state));
    begun.ok_or_else(|| {
        Error::Forbidden("This login did not begin in this browser, or is over. Begin it again.".to_owned())
    })
}

/// Returns the row of a person who may log in: an operator, or somebody with a right in a repository.
async fn admit(state: &State, user: &GitHubUser) -> Result<Option<PersonId>, Error> {
    let person = persons::of_github(&state.db, user.id, &user.login).await?;
    let asked = state.access.rights().mirror(person.id).await;
    if state.access.is_operator(&person) || permissions::has_any(&state.db, person.id).await? {
        return Ok(Some(person.id));
    }
    // Without an answer it is not known that there is no right.
    asked.map_err(|error| {
        warn!("the rights of {} are not known: {error:#}", user.login);
        Error::RightUnknown
    })?;
    Ok(None)
}
