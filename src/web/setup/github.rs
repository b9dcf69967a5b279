//! `/setup/github`: the registration of the GitHub App, from the form to GitHub and back.

use std::time::Duration;

use askama::Template;
use axum::extract::{self, Query};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;
use tracing::warn;
use url::{Host, Url};

use crate::github::manifest;
use crate::registration::{Tried, install_url, try_permissions};
use crate::web::State;
use crate::web::access::{View, Viewer, address};
use crate::web::error::Error;
use crate::web::pages::{Chrome, render};
use crate::web::people::form::OwnForm;

/// Path to which GitHub sends the browser after it has made the App.
const CALLBACK: &str = "/setup/github/callback";
/// Time for all questions about the App, for the page.
const EXAMINE_TIMEOUT: Duration = Duration::from_secs(20);
/// Maximum length of an organization's name.
const MAX_ORGANIZATION: usize = 100;

/// State of the App at GitHub.
#[derive(Debug, Default)]
pub(super) struct Examined {
    pub(super) name: String,
    /// Page at GitHub where the App is installed, for another owner too.
    pub(super) install: Option<Url>,
    /// Owners of the installations.
    pub(super) owners: Vec<String>,
    /// Permissions as they were tried at the first installation.
    pub(super) permissions: Vec<Tried>,
    pub(super) failure: Option<String>,
}

/// Asks GitHub about the App, and tries its permissions; `None` without an App.
pub(super) async fn examine(state: &State) -> Result<Option<Examined>, Error> {
    if !state.access.github().has_app() {
        return Ok(None);
    }
    let mut found = Examined::default();
    let failure = match tokio::time::timeout(EXAMINE_TIMEOUT, ask(state, &mut found)).await {
        Ok(asked) => asked.err().map(|error| format!("{error:#}")),
        Err(_) => Some("GitHub did not answer in time.".to_owned()),
    };
    Ok(Some(Examined { failure, ..found }))
}

async fn ask(state: &State, found: &mut Examined) -> anyhow::Result<()> {
    let client = state.access.github();
    let app = client.app().await?;
    found.name = app.name;
    found.install = Some(install_url(&app.html_url)?);
    let installations = client.app_installations().await?;
    found.owners = installations.iter().map(|it| it.account.login.clone()).collect();
    let Some(first) = installations.first() else {
        anyhow::bail!("The App is installed nowhere. Install it, and load this page again.");
    };
    if first.suspended_at.is_some() {
        anyhow::bail!("{} has suspended the App.", first.account.login);
    }
    found.permissions = try_permissions(client, first, state.publish.has_releases()).await?;
    Ok(())
}

/// Returns the reason why an App that is registered now would not work.
pub(super) fn warning(state: &State) -> Option<String> {
    let url = &state.public_url;
    is_loopback(url).then(|| {
        format!(
            "GitHub would send webhooks to {url} (server.public_url), which only this machine reaches. Set it to the \
             address of this service for GitHub first, and restart."
        )
    })
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[derive(Template)]
#[template(path = "setup_github.html")]
struct ToGitHub {
    chrome: Chrome,
    action: Url,
    manifest: String,
    hook: String,
    organization: String,
}

/// `POST /setup/github`: begins a registration, and shows the form for GitHub.
pub(in crate::web) async fn begin(
    extract::State(state): extract::State<State>,
    view: View,
    headers: HeaderMap,
    own: OwnForm,
) -> Result<Response, Error> {
    let setup = &state.setup;
    if setup.has_configured_app {
        return Err(Error::Conflict("The configuration has an App already: github.app_id.".to_owned()));
    }
    let organization = own.fields.get("organization").trim();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if organization.len() > MAX_ORGANIZATION || !organization.chars().all(is_plain) {
        return Err(Error::BadRequest("This is not the name of an organization at GitHub.".to_owned()));
    }
    let replaces = match own.fields.get("replace") {
        "yes" => setup.stored.app.id().await?,
        _ => None,
    };
    if let Some(why) = setup.stored.obstacle(replaces.is_some()).await? {
        return Err(Error::Conflict(format!("No App can be registered now: {why}.")));
    }
    let nonce = setup.registrations.begin(own.browser.session, replaces)?;
    let owner = (!organization.is_empty()).then_some(organization);
    let action = state.access.github().registration_url(owner, &nonce);
    let target = action.origin().ascii_serialization();
    let page = render(&ToGitHub {
        chrome: Chrome::load(&state, &view, false).await?,
        manifest: manifest(&state.public_url, &redirect_url(&state, &headers), state.publish.has_releases())
            .to_string(),
        action,
        hook: state.public("/webhooks/github"),
        organization: organization.to_owned(),
    })?;
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
         base-uri 'none'; form-action 'self' {target}; frame-ancestors 'none'"
    );
    let policy = HeaderValue::from_str(&policy).map_err(anyhow::Error::from)?;
    let headers =
        [(header::CONTENT_SECURITY_POLICY, policy), (header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((headers, page).into_response())
}

/// Returns the address to which GitHub sends the browser back. The session is good at the address that the browser knows.
/// Whoever gets GitHub's code gets the App's key, so no address counts but the public one and those of the loopback.
fn redirect_url(state: &State, headers: &HeaderMap) -> String {
    let origin = headers.get(header::ORIGIN).and_then(|value| value.to_str().ok());
    let origin = origin.and_then(|origin| Url::parse(origin).ok());
    match origin.filter(|origin| origin.scheme() == "http" && is_loopback(origin)) {
        Some(origin) => format!("{}{CALLBACK}", origin.origin().ascii_serialization()),
        None => state.public(CALLBACK),
    }
}

/// Query parameters with which GitHub sends a browser back.
#[derive(Debug, Deserialize)]
pub(in crate::web) struct Returned {
    code: Option<String>,
    state: Option<String>,
}

/// `GET /setup/github/callback`: the browser comes back from GitHub, which has made the App.
pub(in crate::web) async fn callback(
    extract::State(state): extract::State<State>,
    view: View,
    Query(returned): Query<Returned>,
    request: Parts,
) -> Result<Response, Error> {
    let Viewer::Person(browser) = &*view.viewer else { return Err(foreign()) };
    let wanted = returned.state.as_deref().unwrap_or_default();
    // Ended before the code is used: the same address opens nothing a second time.
    let begun = state.setup.registrations.take(browser.session, wanted).ok_or_else(foreign)?;
    let code = returned.code.ok_or_else(|| Error::BadRequest("GitHub has sent no code.".to_owned()))?;
    let app = state.setup.stored.register(&code, begun.replaces).await.map_err(|error| {
        warn!("the registration of a GitHub App failed: {error:#}");
        Error::Conflict(format!("This did not work: {error:#}. /setup shows how things are."))
    })?;
    let from = address(&request.extensions, &request.headers);
    let what = if begun.replaces.is_some() { "replace the GitHub App" } else { "register the GitHub App" };
    state.access.record(&browser.person.name, what, &format!("{} {}", app.name, app.id), from).await;
    Ok(Redirect::to("/setup").into_response())
}

fn foreign() -> Error {
    Error::Forbidden(
        "This registration did not begin in this browser, or is over. Begin it again at /setup.".to_owned(),
    )
}
