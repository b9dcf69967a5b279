//! The registration of the GitHub App in a browser: a page with a form for GitHub, and the address to which GitHub
//! returns with a code.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use askama::Template;
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::get;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use url::Url;

use crate::repo_keys;

/// Time for which the browser waits while GitHub is asked for the App.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(60);

/// A page on the loopback of this machine.
pub(super) struct Registration {
    /// Address of the page. It has a secret, so that no other user of the machine can register an App.
    pub(super) url: String,
    returned: mpsc::Receiver<Returned>,
    // The server ends with this value.
    _serving: JoinSet<()>,
}

/// The return of the browser from GitHub.
pub(super) struct Returned {
    /// Code for the credentials of the new App.
    pub(super) code: String,
    answer: oneshot::Sender<Page>,
}

/// The port of the page, before its form is known.
pub(super) struct Bound {
    listener: TcpListener,
    address: SocketAddr,
}

/// The form that the page posts to GitHub.
pub(super) struct Form {
    pub(super) action: Url,
    pub(super) manifest: String,
}

struct Served {
    path: String,
    state: String,
    form: Form,
    returned: mpsc::Sender<Returned>,
}

#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="color-scheme" content="light dark"><title>Set up GitHub · Trainyard</title></head>
<body>
<h1>Set up GitHub</h1>
<p>{{ text }}</p>
{%- if let Some(form) = form %}
<form method="post" action="{{ form.action }}">
<input type="hidden" name="manifest" value="{{ form.manifest }}">
<button>Register the GitHub App</button>
</form>
{%- endif %}
{%- if let Some(link) = link %}
<p><a href="{{ link }}">Install the App at GitHub</a></p>
{%- endif %}
</body>
</html>
"#
)]
struct View<'a> {
    text: &'a str,
    form: Option<&'a Form>,
    link: Option<&'a Url>,
}

/// A page after the registration.
pub(super) struct Page {
    pub(super) text: String,
    /// Page at GitHub that comes next.
    pub(super) link: Option<Url>,
}

/// Returns a text that nobody can guess.
pub(super) fn secret() -> anyhow::Result<String> {
    Ok(hex::encode(repo_keys::new_seal()?.as_slice()))
}

impl Bound {
    /// Takes a port of the loopback; 0 for any that is free.
    pub(super) async fn new(port: u16) -> anyhow::Result<Self> {
        let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listener = TcpListener::bind(wanted).await.with_context(|| format!("cannot listen at {wanted}"))?;
        Ok(Self { address: listener.local_addr()?, listener })
    }

    /// Returns the address to which GitHub sends the browser after the registration.
    pub(super) fn redirect_url(&self) -> String {
        format!("http://{}/created", self.address)
    }

    /// Serves the page. GitHub has to return with this `state`.
    pub(super) fn serve(self, state: String, form: Form) -> anyhow::Result<Registration> {
        let (sender, returned) = mpsc::channel(1);
        let path = secret()?;
        let url = format!("http://{}/{path}", self.address);
        let served = Arc::new(Served { path, state, form, returned: sender });
        let router = Router::new().route("/created", get(created)).route("/{path}", get(page)).with_state(served);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            // The loop of accepts has no end.
            let _ = axum::serve(self.listener, router).await;
        });
        Ok(Registration { url, returned, _serving: serving })
    }
}

impl Registration {
    /// Waits until a browser comes back from GitHub.
    pub(super) async fn returned(&mut self) -> anyhow::Result<Returned> {
        self.returned.recv().await.context("the page has ended")
    }
}

impl Returned {
    /// Shows a page in the browser.
    pub(super) fn answer(self, page: Page) {
        // A browser that was closed misses it.
        let _ = self.answer.send(page);
    }
}

/// Compares two texts by their digests, so that the time reveals nothing.
fn is_same(a: &str, b: &str) -> bool {
    Sha256::digest(a) == Sha256::digest(b)
}

async fn page(State(served): State<Arc<Served>>, Path(path): Path<String>) -> Response {
    if !is_same(&path, &served.path) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let text = "GitHub will ask for the App's name, and then come back here. The App's key is stored sealed.";
    show(StatusCode::OK, &View { text, form: Some(&served.form), link: None })
}

#[derive(Deserialize)]
struct Created {
    code: Option<String>,
    state: Option<String>,
}

async fn created(State(served): State<Arc<Served>>, Query(created): Query<Created>) -> Response {
    let refused = |text: &str| show(StatusCode::FORBIDDEN, &View { text, form: None, link: None });
    let Some(code) = created.code.filter(|_| created.state.is_some_and(|state| is_same(&state, &served.state))) else {
        return refused("This is not the end of a registration that began here.");
    };
    let (answer, answered) = oneshot::channel();
    if served.returned.try_send(Returned { code, answer }).is_err() {
        return refused("An App was registered already.");
    }
    match tokio::time::timeout(EXCHANGE_TIMEOUT, answered).await {
        Ok(Ok(page)) => show(StatusCode::OK, &View { text: &page.text, form: None, link: page.link.as_ref() }),
        _ => refused("The command has ended."),
    }
}

fn show(status: StatusCode, view: &View<'_>) -> Response {
    let target = view.form.map_or_else(|| "'none'".to_owned(), |form| form.action.origin().ascii_serialization());
    let policy = format!("default-src 'none'; form-action {target}; frame-ancestors 'none'; base-uri 'none'");
    let headers = [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    match view.render() {
        Ok(text) => (status, headers, Html(text)).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
