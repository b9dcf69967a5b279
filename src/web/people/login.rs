//! `/login`: with GitHub, with a provider of OpenID Connect, or with the name and password of a local user; and `/logout`.

use std::sync::LazyLock;

use anyhow::Context as _;
use askama::Template;
use axum::extract::{self, Query, Request};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use secrecy::SecretString;
use serde::Deserialize;
use tokio::sync::Semaphore;

use super::form::{Fields, OwnForm};
use super::own_path::own_path;
use crate::passwords;
use crate::store::people::{persons, sessions};
use crate::web::State;
use crate::web::access::{View, address};
use crate::web::error::Error;
use crate::web::pages::{Chrome, render};

/// Turn of comparing a password: each takes 46 MiB for some hundredths of a second.
static COMPARISONS: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(1));

/// Query parameters of the page.
#[derive(Debug, Deserialize)]
pub(in crate::web) struct Wanted {
    #[serde(default)]
    pub(super) return_to: String,
}

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage {
    chrome: Chrome,
    has_github: bool,
    has_local: bool,
    /// Name of the provider of OpenID Connect, if there is one.
    provider: Option<String>,
    return_to: String,
    name: String,
    /// Reason why the last try failed.
    failure: Option<&'static str>,
}

/// `GET /login`
pub(in crate::web) async fn page(
    extract::State(state): extract::State<State>,
    view: View,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Error> {
    show(&state, &view, &wanted.return_to, "", None).await
}

async fn show(
    state: &State,
    view: &View,
    return_to: &str,
    name: &str,
    failure: Option<&'static str>,
) -> Result<Response, Error> {
    let (has_github, has_local) = (state.access.github_login().is_some(), state.access.has_local_users().await?);
    let provider = state.access.oidc().map(|provider| provider.config().name.clone());
    if !has_github && !has_local && provider.is_none() {
        return Err(Error::NotFound("login"));
    }
    let chrome = Chrome::load(state, view, false).await?;
    let (return_to, name) = (own_path(return_to), name.to_owned());
    let page = render(&LoginPage { chrome, has_github, has_local, provider, return_to, name, failure })?;
    let status = if failure.is_some() { StatusCode::UNAUTHORIZED } else { StatusCode::OK };
    Ok((status, [(header::CACHE_CONTROL, "no-store")], page).into_response())
}

/// `POST /login`: a local user's name and password.
pub(in crate::web) async fn log_in(
    extract::State(state): extract::State<State>,
    view: View,
    request: Request,
) -> Result<Response, Error> {
    let (headers, extensions) = (request.headers().clone(), request.extensions().clone());
    let from = address(&extensions, &headers);
    let fields = Fields::read(&state, request).await?;
    let (name, return_to) = (fields.get("name"), fields.get("return_to"));
    if name.is_empty() || name.len() > persons::MAX_NAME {
        return show(&state, &view, return_to, "", Some("The name or the password is wrong.")).await;
    }
    state.tries.begin(name, from)?;
    let known = persons::local(&state.db, name).await?;
    let (person, hash) = known.map_or((None, None), |(person, hash)| (Some(person), Some(hash)));
    let password = SecretString::from(fields.get("password"));
    let is_right = {
        let _turn = COMPARISONS.acquire().await.map_err(anyhow::Error::from)?;
        let compare = move || passwords::verify(&password, hash.as_deref());
        tokio::task::spawn_blocking(compare).await.context("comparing a password")?
    };
    let Some(person) = person.filter(|_| is_right) else {
        state.access.record(name, "refused login", "", from).await;
        return show(&state, &view, return_to, name, Some("The name or the password is wrong.")).await;
    };
    state.tries.succeed(name, from);
    super::begin_session(&state, &extensions, &headers, (person.id, &person.name), return_to).await
}

/// `POST /logout`
pub(in crate::web) async fn log_out(
    extract::State(state): extract::State<State>,
    own: OwnForm,
) -> Result<Response, Error> {
    sessions::end(&state.db, own.browser.session).await?;
    state.access.record(&own.browser.person.name, "log out", "", own.from).await;
    let mut response = Redirect::to("/").into_response();
    response.headers_mut().append(header::SET_COOKIE, state.access.cookies().end_session());
    Ok(response)
}
