//! `/setup/start`: the link with which the first operator is made, while nobody can log in.

use anyhow::Context as _;
use askama::Template;
use axum::extract::{self, Query, Request};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use sqlx::PgPool;

use crate::passwords;
use crate::store::people::{persons, setup_link};
use crate::web::State;
use crate::web::access::{View, address, secret};
use crate::web::error::Error;
use crate::web::pages::{Chrome, render};
use crate::web::people::begin_session;
use crate::web::people::form::Fields;
use crate::web::steps::{Step, steps};

/// Path to which the link leads.
const PATH: &str = "/setup/start";

/// Query parameters of the link.
#[derive(Debug, Deserialize)]
pub(in crate::web) struct Link {
    #[serde(default)]
    key: String,
}

#[derive(Template)]
#[template(path = "setup_start.html")]
struct StartPage {
    chrome: Chrome,
    steps: Vec<Step>,
    key: String,
    name: String,
    /// Reason why the last try failed.
    failure: Option<String>,
    /// Minimum length of a password.
    least: usize,
}

/// Makes a link, and returns its path on this server. The link before it ends.
///
/// # Errors
/// Fails when the system provides no randomness, and when Postgres does not answer.
pub async fn make_link(db: &PgPool) -> anyhow::Result<String> {
    let key = secret::new()?;
    setup_link::put(db, &secret::digest(&key)).await.context("storing a setup link")?;
    Ok(format!("{PATH}?key={key}"))
}

/// Refuses a request without the secret of the link, and every request once somebody can log in.
async fn check(state: &State, key: &str) -> Result<(), Error> {
    if state.access.has_login().await? {
        return Err(Error::NotFound("page"));
    }
    match setup_link::is_good(&state.db, &secret::digest(key)).await? {
        true => Ok(()),
        false => Err(not_good()),
    }
}

fn not_good() -> Error {
    Error::Forbidden(
        "This setup link is not good. A link is good once, for a day, until another one is made. `trainyard setup link` \
         on the server prints another."
            .to_owned(),
    )
}

/// `GET /setup/start`
pub(in crate::web) async fn page(
    extract::State(state): extract::State<State>,
    view: View,
    Query(link): Query<Link>,
) -> Result<Response, Error> {
    check(&state, &link.key).await?;
    show(&state, &view, &link.key, "", None).await
}

async fn show(state: &State, view: &View, key: &str, name: &str, failure: Option<String>) -> Result<Response, Error> {
    let (chrome, steps) = (Chrome::load(state, view, false).await?, steps(state).await?);
    let (key, name) = (key.to_owned(), name.to_owned());
    let page = render(&StartPage { chrome, steps, key, name, failure, least: passwords::MIN_LENGTH })?;
    Ok(([(header::CACHE_CONTROL, "no-store")], page).into_response())
}

/// `POST /setup/start`: makes the first operator, and logs them in. The link ends.
pub(in crate::web) async fn make_operator(
    extract::State(state): extract::State<State>,
    view: View,
    request: Request,
) -> Result<Response, Error> {
    let (headers, extensions) = (request.headers().clone(), request.extensions().clone());
    let fields = Fields::read(&state, request).await?;
    let (key, name) = (fields.get("key"), fields.get("name").trim());
    check(&state, key).await?;
    let (password, again) = (SecretString::from(fields.get("password")), fields.get("again"));
    if !persons::is_name(name) {
        return show(&state, &view, key, "", Some(persons::NAME_FORM.to_owned())).await;
    }
    if password.expose_secret() != again {
        return show(&state, &view, key, name, Some("the two passwords differ".to_owned())).await;
    }
    let hashed = tokio::task::spawn_blocking(move || passwords::hash(&password)).await.context("hashing a password")?;
    let hash = match hashed {
        Ok(hash) => hash,
        Err(why) => return show(&state, &view, key, name, Some(why.to_string())).await,
    };
    let made = setup_link::spend(&state.db, &secret::digest(key), name, &hash).await?;
    let person = made.ok_or_else(not_good)?;
    state.access.logins_changed().await;
    state.access.record(name, "make the first operator", name, address(&extensions, &headers)).await;
    begin_session(&state, &extensions, &headers, (person, name), "/setup").await
}
