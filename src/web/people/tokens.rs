//! `/settings/tokens`: the tokens that a person has made for programs.

use askama::Template;
use axum::extract::{self, Path};
use axum::http::header;
use axum::response::{IntoResponse as _, Redirect, Response};
use chrono::{DateTime, TimeDelta, Utc};

use super::form::{Fields, OwnForm};
use crate::domain::{PersonId, RepoId, RepoName, Right, bounded};
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
    let wanted = Wanted {
        name: own.fields.get("name"),
        scope: own.fields.get("scope"),
        days: own.fields.get("days").parse().unwrap_or(0),
        repos: names(&own.fields),
    };
    match insert(&state, &view, own.browser.person.id, &wanted).await? {
        Ok(made) => {
            state.access.record(&own.browser.person.name, "make a token", &made.name, own.from).await;
            show(&state, &view, Some(made.token), None).await
        }
        Err(why) => show(&state, &view, None, Some(why)).await,
    }
}

/// Makes a token of a person, or returns the reason why it cannot be as it is wanted.
pub(in crate::web) async fn insert(
    state: &State,
    view: &View,
    person: PersonId,
    wanted: &Wanted<'_>,
) -> Result<Result<Made, String>, Error> {
    let Checked { name, scope, repos, expires_at } = match checked(view, wanted).await? {
        Ok(checked) => checked,
        Err(why) => return Ok(Err(why)),
    };
    let token = format!("{PREFIX}{}", secret::new()?);
    let digest = secret::digest(&token);
    let new = api_tokens::New { person, name: &name, digest: &digest, scope, repos: repos.as_deref(), expires_at };
    if !api_tokens::insert(&state.db, &new).await? {
        let most = api_tokens::MAX_TOKENS;
        return Ok(Err(format!("You have {most} tokens, which is the most. Revoke one first.")));
    }
    Ok(Ok(Made { name, token }))
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

/// A token that somebody asks for.
pub(in crate::web) struct Wanted<'a> {
    pub(in crate::web) name: &'a str,
    pub(in crate::web) scope: &'a str,
    pub(in crate::web) days: i64,
    /// Names of repositories; empty for all of the person.
    pub(in crate::web) repos: Vec<&'a str>,
}

/// A token that was made.
pub(in crate::web) struct Made {
    pub(in crate::web) name: String,
    pub(in crate::web) token: String,
}

/// A token as it can be made.
struct Checked {
    name: String,
    scope: Right,
    repos: Option<Vec<RepoId>>,
    expires_at: DateTime<Utc>,
}

fn names(fields: &Fields) -> Vec<&str> {
    fields.get("repos").split(|c: char| c.is_whitespace() || c == ',').filter(|name| !name.is_empty()).collect()
}

/// Checks a wish for a token, or returns the reason why it cannot be so.
async fn checked(view: &View, wanted: &Wanted<'_>) -> Result<Result<Checked, String>, Error> {
    let name = wanted.name.trim();
    if name.is_empty() || name.chars().any(char::is_control) {
        return Ok(Err("A token needs a name.".to_owned()));
    }
    let Ok(scope) = wanted.scope.parse::<Right>() else {
        return Ok(Err("A token is to read, to write, or for everything.".to_owned()));
    };
    let days = wanted.days;
    if !DAYS.contains(&days) {
        return Ok(Err("A token ends some day: after 7, 30, 90 or 365 days.".to_owned()));
    }
    let mut repos = Vec::new();
    for named in wanted.repos.iter().take(MAX_REPOS + 1) {
        let unknown =
            || Ok(Err(format!("There is no repository {} that you may read.", bounded((*named).to_owned(), 150))));
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
    Ok(Ok(Checked { name: bounded(name.to_owned(), MAX_NAME), scope, repos, expires_at }))
}

impl TokensPage {
    fn when(time: &DateTime<Utc>) -> When {
        When::new(*time)
    }

    fn is_over(token: &Listed) -> bool {
        token.expires_at <= Utc::now()
    }
}
