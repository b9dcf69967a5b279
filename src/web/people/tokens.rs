//! `/settings/tokens`: the tokens that a person has made for programs.

use askama::Template;
use axum::extract::{self, Path};
use axum::http::header;
use axum::response::{IntoResponse as _, Redirect, Response};
use chrono::{DateTime, TimeDelta, Utc};

use super::form::{Fields, OwnForm};
use crate::domain::{RepoId, RepoName, Right, bounded};
use crate::store::people::api_tokens::{self, Listed};
use crate::web::State;
use crate::web::access::{View, secret};
use crate::web::error::Error;
use crate::web::pages::{Chrome, render};
use crate::web::show::When;

/// Beginning of each token. It makes them easy to find where they do not belong.
const PREFIX: &str = "trainyard_";
/// Times for which a token may be good, in days.
const DAYS: [i64; 4] = [7, 30, 90, 365];
const USUAL_DAYS: i64 = 90;
const MAX_NAME: usize = 100;
/// Maximum number of repositories that a token names.
const MAX_REPOS: usize = 50;

#[derive(Template)]
#[template(path = "tokens.html")]
struct TokensPage {
    chrome: Chrome,
    tokens: Vec<Listed>,
    /// A token that was made just now. It is shown once.
    made: Option<String>,
    failure: Option<String>,
    days: [i64; 4],
    usual_days: i64,
}

/// `GET /settings/tokens`
pub(in crate::web) async fn page(extract::State(state): extract::State<State>, view: View) -> Result<Response, Error> {
    show(&state, &view, None, None).await
}

async fn show(state: &State, view: &View, made: Option<String>, failure: Option<String>) -> Result<Response, Error> {
    let person = view.viewer.person().ok_or(Error::NoToken)?;
    let tokens = api_tokens::of(&state.db, person).await?;
    let chrome = Chrome::load(state, view, false).await?;
    let page = TokensPage { chrome, tokens, made, failure, days: DAYS, usual_days: USUAL_DAYS };
    Ok(([(header::CACHE_CONTROL, "no-store")], render(&page)?).into_response())
}

/// `POST /settings/tokens`: makes a token.
pub(in crate::web) async fn make(
    extract::State(state): extract::State<State>,
    view: View,
    own: OwnForm,
) -> Result<Response, Error> {
    let wanted = match wanted(&view, &own.fields).await? {
        Ok(wanted) => wanted,
        Err(why) => return show(&state, &view, None, Some(why)).await,
    };
    let token = format!("{PREFIX}{}", secret::new()?);
    let new = api_tokens::New {
        person: own.browser.person.id,
        name: &wanted.name,
        digest: &secret::digest(&token),
        scope: wanted.scope,
        repos: wanted.repos.as_deref(),
        expires_at: wanted.expires_at,
    };
    if !api_tokens::insert(&state.db, &new).await? {
        let why = format!("You have {} tokens, which is the most. Revoke one first.", api_tokens::MAX_TOKENS);
        return show(&state, &view, None, Some(why)).await;
    }
    state.access.record(&own.browser.person.name, "make a token", &wanted.name, own.from).await;
    show(&state, &view, Some(token), None).await
}

/// `POST /settings/tokens/{token}/revoke`
pub(in crate::web) async fn revoke(
    extract::State(state): extract::State<State>,
    Path(token): Path<String>,
    own: OwnForm,
) -> Result<Redirect, Error> {
    let token = token.parse().map_err(|_| Error::NotFound("token"))?;
    let removed = api_tokens::remove(&state.db, own.browser.person.id, token).await?;
    let name = removed.ok_or(Error::NotFound("token"))?;
    state.access.record(&own.browser.person.name, "revoke a token", &name, own.from).await;
    Ok(Redirect::to("/settings/tokens"))
}

/// A token that a form asks for.
struct Wanted {
    name: String,
    scope: Right,
    repos: Option<Vec<RepoId>>,
    expires_at: DateTime<Utc>,
}

/// Reads the form, or returns the reason why it cannot be as it says.
async fn wanted(view: &View, fields: &Fields) -> Result<Result<Wanted, String>, Error> {
    let name = fields.get("name").trim();
    if name.is_empty() || name.chars().any(char::is_control) {
        return Ok(Err("A token needs a name.".to_owned()));
    }
    let Ok(scope) = fields.get("scope").parse::<Right>() else {
        return Ok(Err("A token is to read, to write, or for everything.".to_owned()));
    };
    let Some(days) = fields.get("days").parse().ok().filter(|days| DAYS.contains(days)) else {
        return Ok(Err("A token ends some day.".to_owned()));
    };
    let mut repos = Vec::new();
    let names = fields.get("repos").split(|c: char| c.is_whitespace() || c == ',').filter(|name| !name.is_empty());
    for named in names.take(MAX_REPOS + 1) {
        let unknown =
            || Ok(Err(format!("There is no repository {} that you may read.", bounded(named.to_owned(), 150))));
        let Ok(named_repo) = named.parse::<RepoName>() else { return unknown() };
        match view.readable(&named_repo).await? {
            Some(repo) => repos.push(repo),
            None => return unknown(),
        }
    }
    if repos.len() > MAX_REPOS {
        return Ok(Err(format!("A token names at most {MAX_REPOS} repositories. Leave them out for all of yours.")));
    }
    let repos = (!repos.is_empty()).then_some(repos);
    let expires_at = Utc::now() + TimeDelta::days(days);
    Ok(Ok(Wanted { name: bounded(name.to_owned(), MAX_NAME), scope, repos, expires_at }))
}

impl TokensPage {
    fn when(time: &DateTime<Utc>) -> When {
        When::new(*time)
    }

    fn is_over(token: &Listed) -> bool {
        token.expires_at <= Utc::now()
    }
}
