//! A stand-in for a Gitea or Forgejo server: its API for a repository and for statuses, git over HTTP, and its webhooks.
//! The stand-in checks what it is sent, by Gitea's own description (`CreateStatusOption`).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Path, RawQuery, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::git_host::{self, GitHost, Repo};
use super::github::Posted;

/// Token that the stand-in accepts.
pub const TOKEN: &str = "5f3c9d1e2b7a48c6a0e1d2f3b4c5a6978810fedc";
/// Secret with which it signs webhooks.
pub const SECRET: &str = "the secret of the webhook at Gitea";
/// Number of every repository: GitHub may have another one with the same.
pub const NUMBER: u32 = 1;

/// A running stand-in.
#[derive(Debug, Clone)]
pub struct Gitea {
    pub address: SocketAddr,
    root: PathBuf,
    git: GitHost,
    posted: Arc<Mutex<Vec<Posted>>>,
    /// True when every request is answered with 503.
    is_away: Arc<Mutex<bool>>,
    changed: Arc<Notify>,
}

impl Gitea {
    /// Starts on a free port of the loopback, with repositories in `root`.
    pub async fn start(root: PathBuf) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let git = GitHost::new(&root, Some(TOKEN));
        let gitea =
            Self { address, root, git, posted: Arc::default(), is_away: Arc::default(), changed: Arc::default() };
        let routes = Router::new()
            .route("/api/v1/repos/search", get(search))
            .route("/api/v1/repos/{owner}/{repo}", get(repository))
            .route("/api/v1/repos/{owner}/{repo}/statuses/{sha}", post(create_status))
            .route("/{owner}/{repo}/{*rest}", any(serve_git))
            .layer(axum::extract::DefaultBodyLimit::disable())
            .with_state(gitea.clone());
        #[expect(
            clippy::disallowed_methods,
            reason = "it ends with the test's runtime, and a panic fails its requests"
        )]
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        gitea
    }

    /// Returns the section of the configuration that makes it the server of these owners.
    pub fn section(&self, owners: &[&str]) -> String {
        format!(
            "[[forge]]\nname = \"git\"\nkind = \"gitea\"\nurl = \"http://{}\"\nowners = {owners:?}\ntoken = \"{TOKEN}\"\n\
             webhook_secret = \"{SECRET}\"\n",
            self.address
        )
    }

    pub fn repo(&self, name: &str) -> Repo {
        Repo::new(&self.root, name)
    }

    /// Lets every request fail, or be answered again.
    pub fn set_away(&self, is_away: bool) {
        *self.is_away.lock().unwrap() = is_away;
    }

    /// Waits until a context of a commit is decided. Returns the last status.
    pub async fn wait_for_end(&self, sha: &str, context: &str) -> Posted {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(90);
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let all = self.posted.lock().unwrap().clone();
            let is_end = |posted: &&Posted| posted.sha == sha && posted.context == context && posted.state != "pending";
            if let Some(end) = all.iter().find(is_end) {
                return end.clone();
            }
            let waited = tokio::time::timeout_at(deadline, changed).await;
            assert!(waited.is_ok(), "no end of {sha}; there are: {all:#?}");
        }
    }

    fn description(&self, name: &str) -> Value {
        let (owner, short) = name.split_once('/').unwrap();
        json!({
            "id": NUMBER, "owner": {"id": 3, "login": owner, "username": owner}, "name": short, "full_name": name,
            "private": false, "fork": false, "default_branch": "main", "archived": false,
            "html_url": format!("http://{}/{name}", self.address),
            "clone_url": format!("http://{}/{name}.git", self.address),
        })
    }

    /// Pushes the work tree's head to `branch`. Returns the payload for that.
    pub fn push(&self, repo: &Repo, branch: &str) -> Value {
        repo.git(&["push", "--quiet", "--force", "origin", &format!("HEAD:refs/heads/{branch}")]);
        let (sha, user) = (repo.head(), json!({"id": 1, "login": "ada", "username": "ada"}));
        let commit = json!({
            "id": sha, "message": repo.git(&["log", "-1", "--format=%B"]),
            "author": {"name": "Ada", "email": "ada@example.org", "username": "ada"},
            "timestamp": "2026-11-30T12:00:00Z", "added": [], "removed": [], "modified": [],
        });
        json!({
            "ref": format!("refs/heads/{branch}"), "before": "0".repeat(40), "after": sha,
            "compare_url": format!("http://{}/{}/compare/a...b", self.address, repo.name),
            "commits": [commit], "total_commits": 1, "head_commit": commit,
            "repository": self.description(&repo.name), "pusher": user, "sender": user,
        })
    }

    /// Opens a pull request of `head` into `base`: it makes `refs/pull/N/head`, and no merge commit. Returns the payload.
    pub fn pull_request(&self, repo: &Repo, number: u32, head_repo: &str, action: &str) -> Value {
        let head = repo.head();
        repo.git(&["push", "--quiet", "--force", "origin", &format!("HEAD:refs/pull/{number}/head")]);
        let user = json!({"id": 2, "login": "bob", "username": "bob"});
        let of = self.description(&repo.name);
        json!({
            "action": action, "number": number,
            "pull_request": {
                "id": 70, "number": number, "title": "Train a watercolour style", "state": "open", "user": user,
                "html_url": format!("http://{}/{}/pulls/{number}", self.address, repo.name),
                "mergeable": true, "merged": false, "merge_base": "0".repeat(40),
                "head": {"label": "watercolour", "ref": "watercolour", "sha": head, "repo_id": 9,
                         "repo": self.description(head_repo)},
                "base": {"label": "main", "ref": "main", "sha": repo.git(&["rev-parse", "main"]), "repo_id": NUMBER,
                         "repo": of},
            },
            "repository": of, "sender": user, "commit_id": "", "review": null,
        })
    }
}

/// Posts a webhook to a Trainyard, as the server of this name does. Returns the status code and the body of the answer.
pub async fn deliver(base: &str, forge: &str, secret: &str, event: &str, payload: &Value, form: bool) -> (u16, String) {
    let json = serde_json::to_vec_pretty(payload).unwrap();
    let signed = trainyard::github::signature::sign(secret.as_bytes(), &json);
    let encoded = || url::form_urlencoded::byte_serialize(&json).collect::<String>();
    let (content_type, body) = match form {
        true => ("application/x-www-form-urlencoded", format!("payload={}", encoded()).into_bytes()),
        false => ("application/json", json.clone()),
    };
    let id = payload["after"].as_str().or(payload["action"].as_str()).unwrap_or("none");
    let answer = reqwest::Client::new()
        .post(format!("{base}/webhooks/forge/{forge}"))
        .header("content-type", content_type)
        .header("x-gitea-delivery", format!("f6266f16-{id}"))
        .header("x-gitea-event", event)
        .header("x-gitea-signature", signed.strip_prefix("sha256=").unwrap())
        .body(body)
        .send()
        .await
        .unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

fn refusal(code: u16, message: &str) -> Response {
    (StatusCode::from_u16(code).unwrap(), Json(json!({"message": message, "url": "/api/swagger"}))).into_response()
}

impl Gitea {
    fn admit(&self, headers: &HeaderMap) -> Result<(), Response> {
        if *self.is_away.lock().unwrap() {
            return Err(StatusCode::SERVICE_UNAVAILABLE.into_response());
        }
        match headers.get("authorization").and_then(|value| value.to_str().ok()) {
            Some(given) if given == format!("Bearer {TOKEN}") => Ok(()),
            _ => Err(refusal(401, "token is required")),
        }
    }
}

async fn repository(
    State(gitea): State<Gitea>,
    Path((owner, repo)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    if let Err(refused) = gitea.admit(&headers) {
        return refused;
    }
    let name = format!("{owner}/{repo}");
    match gitea.root.join("bare").join(format!("{name}.git")).exists() {
        true => Json(gitea.description(&name)).into_response(),
        false => refusal(404, "The target couldn't be found."),
    }
}

async fn search(State(gitea): State<Gitea>, headers: HeaderMap) -> Response {
    gitea.admit(&headers).map_or_else(|refused| refused, |()| Json(json!({"ok": true, "data": []})).into_response())
}

async fn create_status(
    State(gitea): State<Gitea>,
    Path((owner, repo, sha)): Path<(String, String, String)>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    if let Err(refused) = gitea.admit(&headers) {
        return refused;
    }
    let fields: Vec<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
    let text = |key: &str| body[key].as_str().map(str::to_owned);
    let (Some(state), Some(context), Some(description), Some(target_url)) =
        (text("state"), text("context"), text("description"), text("target_url"))
    else {
        return refusal(422, "a field is missing");
    };
    let is_known = matches!(state.as_str(), "pending" | "success" | "error" | "failure" | "warning");
    if !is_known || fields.len() != 4 || sha.len() != 40 {
        return refusal(422, &format!("{body}"));
    }
    let (repo, at) = (format!("{owner}/{repo}"), std::time::Instant::now());
    gitea.posted.lock().unwrap().push(Posted { repo, sha, context, state, description, target_url, at });
    gitea.changed.notify_waiters();
    (StatusCode::CREATED, Json(json!({"id": 1, "status": body["state"], "context": body["context"]}))).into_response()
}

async fn serve_git(State(gitea): State<Gitea>, request: Request) -> Response {
    if *gitea.is_away.lock().unwrap() {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let query = RawQuery(parts.uri.query().map(str::to_owned));
    git_host::serve(State(gitea.git), parts.method, parts.uri, query, parts.headers, body).await
}
