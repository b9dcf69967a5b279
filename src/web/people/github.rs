//! The login with GitHub: to GitHub and back.

use axum::extract::{self, Query};
use axum::http::request::Parts;
use axum::response::Response;
use serde::Deserialize;
use tracing::warn;

use super::login::Wanted;
use super::logins::{self, Way};
use crate::domain::PersonId;
use crate::github::{CALLBACK, GitHubUser};
use crate::store::people::{permissions, persons};
use crate::web::State;
use crate::web::access::{address, secret};
use crate::web::error::Error;

/// Query parameters with which GitHub sends a browser back.
#[derive(Debug, Deserialize)]
pub(in crate::web) struct Returned {
    code: Option<String>,
    state: Option<String>,
    error: Option<String>,
}

/// `GET /login/github`: begins a login, and sends the browser to GitHub.
pub(in crate::web) async fn begin(
    extract::State(state): extract::State<State>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Error> {
    let client = state.access.github_login().ok_or(Error::NotFound("login"))?;
    let begun = state.logins.begin(&wanted.return_to)?;
    let (redirect, challenge) = (state.public(CALLBACK), secret::challenge(&begun.verifier));
    let url = state.access.github().authorize_url(&client, &redirect, &begun.state, &challenge);
    logins::send(&state, Way::GitHub, &begun, &url)
}

/// `GET /login/github/callback`: the browser comes back from GitHub.
pub(in crate::web) async fn callback(
    extract::State(state): extract::State<State>,
    Query(returned): Query<Returned>,
    request: Parts,
) -> Response {
    logins::answer(&state, finish(&state, returned, &request).await)
}

async fn finish(state: &State, returned: Returned, request: &Parts) -> Result<Response, Error> {
    let client = state.access.github_login().ok_or(Error::NotFound("login"))?;
    let begun = logins::begun(state, Way::GitHub, &request.headers, returned.state.as_deref())?;
    if let Some(error) = returned.error {
        return Err(logins::refused("GitHub", &error));
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
