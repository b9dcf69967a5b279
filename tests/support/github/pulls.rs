//! The pull requests of the stand-in, the comments on them, and the rights of people.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::app::{APP_ID, TOKEN_PREFIX};
use super::{GitHub, TOKEN, refusal, unprocessable};

/// The stand-in's number of the account that the personal token belongs to.
pub const TOKEN_ACCOUNT: i64 = 77;

/// A reaction: the comment's number, and the name.
pub type Reacted = (i64, String);

#[derive(Debug, Default)]
struct Model {
    /// Number, kind and permission of each account, by its login.
    people: BTreeMap<String, (i64, &'static str, &'static str)>,
    /// The pull requests, by repository and number.
    pulls: BTreeMap<(String, i64), Value>,
    /// Repository and comment, in the order of their numbers.
    comments: Vec<(String, Value)>,
    /// Repository, number, and entry of each history, in their order.
    history: Vec<(String, i64, Value)>,
    reactions: Vec<Reacted>,
    requests: Vec<(String, String, Value)>,
    next: i64,
}

/// A handle to the pull requests.
#[derive(Debug, Clone, Default)]
pub struct Pulls(Arc<Mutex<Model>>);

fn time(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

impl Pulls {
    /// Returns true if a person with this login was made here.
    pub(super) fn knows(&self, login: &str) -> bool {
        self.model().people.contains_key(login)
    }

    fn model(&self) -> MutexGuard<'_, Model> {
        self.0.lock().unwrap()
    }

    /// Makes an account, or gives it another permission: `admin`, `write`, `read` or `none`.
    pub fn person(&self, login: &str, id: i64, permission: &'static str) {
        self.model().people.insert(login.to_owned(), (id, "User", permission));
    }

    /// Makes an account of a program.
    pub fn bot(&self, login: &str, id: i64) {
        self.model().people.insert(login.to_owned(), (id, "Bot", "write"));
    }

    /// Opens a pull request of another repository, or pushes to it. The last push to that was an hour ago.
    pub fn open(&self, repo: &str, number: i64, base: &str, head: &str, head_repo: &str) {
        let pull = json!({
            "number": number, "state": "open", "title": "Train a watercolour style", "draft": false,
            "user": {"login": "bob", "id": 2},
            "head": {"ref": "watercolour", "sha": head,
                "repo": {"full_name": head_repo, "pushed_at": time(Utc::now() - TimeDelta::hours(1))}},
            "base": {"ref": "main", "sha": base, "repo": {"full_name": repo}},
        });
        self.model().pulls.insert((repo.to_owned(), number), pull);
    }

    /// Changes a pull request.
    pub fn change(&self, repo: &str, number: i64, change: impl FnOnce(&mut Value)) {
        change(self.model().pulls.get_mut(&(repo.to_owned(), number)).unwrap());
    }

    /// Records a push to the repository of a pull request, some seconds from now.
    pub fn push_in(&self, repo: &str, number: i64, seconds: i64) {
        let at = time(Utc::now() + TimeDelta::seconds(seconds));
        self.change(repo, number, |pull| pull["head"]["repo"]["pushed_at"] = json!(at));
    }

    /// Writes a comment of a person. Returns its number.
    pub fn comment(&self, repo: &str, on: i64, login: &str, body: &str) -> i64 {
        let mut model = self.model();
        let (id, kind, _) = model.people[login];
        model.add(repo, on, json!({"login": login, "id": id, "type": kind}), Value::Null, body)
    }

    /// Sets a label of a pull request, or takes it off, by a person and some seconds from now.
    pub fn label(&self, repo: &str, on: i64, login: &str, event: &str, label: &str, seconds: i64) {
        let mut model = self.model();
        let (id, kind, _) = model.people[login];
        let entry = json!({
            "id": 7000 + model.history.len(), "event": event, "actor": {"login": login, "id": id, "type": kind},
            "created_at": time(Utc::now() + TimeDelta::seconds(seconds)), "label": {"name": label, "color": "00aa00"},
            "performed_via_github_app": null,
        });
        model.history.push((repo.to_owned(), on, entry));
    }

    /// Adds entries of another kind to the history of a pull request.
    pub fn commit_to(&self, repo: &str, on: i64, count: usize) {
        let entry =
            json!({"event": "committed", "sha": "0".repeat(40), "author": {"name": "Bob", "date": time(Utc::now())}});
        self.model().history.extend((0..count).map(|_| (repo.to_owned(), on, entry.clone())));
    }

    /// Changes the last entry of the history.
    pub fn change_last_entry(&self, change: impl FnOnce(&mut Value)) {
        change(&mut self.model().history.last_mut().unwrap().2);
    }

    /// Changes a comment.
    pub fn edit(&self, id: i64, change: impl FnOnce(&mut Value)) {
        let mut model = self.model();
        let (_, comment) = model.comments.iter_mut().find(|(_, comment)| comment["id"] == id).unwrap();
        change(comment);
    }

    /// Deletes a comment.
    pub fn delete(&self, id: i64) {
        self.model().comments.retain(|(_, comment)| comment["id"] != id);
    }

    /// Lists the texts of the service's own comments on a pull request.
    pub fn own(&self, repo: &str, on: i64) -> Vec<String> {
        let model = self.model();
        let is_own = |comment: &Value| {
            comment["performed_via_github_app"]["id"] == APP_ID || comment["user"]["id"] == TOKEN_ACCOUNT
        };
        let is_on = |comment: &Value| comment["issue_url"].as_str().unwrap().ends_with(&format!("/issues/{on}"));
        let found = model.comments.iter().filter(|(of, comment)| of == repo && is_own(comment) && is_on(comment));
        found.map(|(_, comment)| comment["body"].as_str().unwrap().to_owned()).collect()
    }

    pub fn reactions(&self) -> Vec<Reacted> {
        self.model().reactions.clone()
    }

    /// Lists the requests: method, path and body.
    pub fn requests(&self) -> Vec<(String, String, Value)> {
        self.model().requests.clone()
    }

    /// Counts the requests with this method and a path that ends so.
    pub fn count(&self, method: &str, end: &str) -> usize {
        let model = self.model();
        model.requests.iter().filter(|(of, path, _)| of == method && path.ends_with(end)).count()
    }
}

impl Model {
    fn add(&mut self, repo: &str, on: i64, user: Value, app: Value, body: &str) -> i64 {
        self.next += 1;
        let id = 5000 + self.next;
        let now = time(Utc::now());
        let comment = json!({
            "id": id, "user": user, "body": body, "created_at": now, "updated_at": now,
            "issue_url": format!("https://api.github.com/repos/{repo}/issues/{on}"), "performed_via_github_app": app,
        });
        self.comments.push((repo.to_owned(), comment));
        id
    }
}

/// Returns the part of the API that is for pull requests, comments and people.
pub(super) fn routes() -> Router<GitHub> {
    Router::new()
        .route("/api/v3/repos/{owner}/{repo}/pulls/{number}", get(pull))
        .route("/api/v3/repos/{owner}/{repo}/issues/{number}/comments", get(list).post(create))
        .route("/api/v3/repos/{owner}/{repo}/issues/{number}/timeline", get(timeline))
        .route("/api/v3/repos/{owner}/{repo}/issues/comments/{id}", get(show).patch(update))
        .route("/api/v3/repos/{owner}/{repo}/issues/comments/{id}/reactions", post(react))
}

type Numbered = Path<(String, String, i64)>;

const COMMENTS: (&str, &str) = ("pull_requests", "write");

/// Records a request, and checks its token.
fn admit(
    github: &GitHub,
    headers: &HeaderMap,
    repo: &str,
    wanted: (&str, &str),
    request: (&str, String, Value),
) -> Result<(), Response> {
    let (method, path, body) = request;
    github.pulls.model().requests.push((method.to_owned(), path, body));
    let fault = if method == "GET" { None } else { github.model().faults.pop_front() };
    if let Some(super::Fault::Status(code, _)) = fault {
        return Err(refusal(code, "the stand-in fails on demand"));
    }
    github.check(headers, repo, wanted)
}

/// Answers for the account of the personal token.
pub(super) async fn user(State(github): State<GitHub>, headers: HeaderMap) -> Response {
    github.pulls.model().requests.push(("GET".to_owned(), "/user".to_owned(), Value::Null));
    if !super::has_token(&headers) {
        return refusal(403, "Resource not accessible by integration");
    }
    Json(json!({"login": "trainyard-ci", "id": TOKEN_ACCOUNT, "type": "User"})).into_response()
}

async fn pull(State(github): State<GitHub>, Path((owner, repo, number)): Numbered, headers: HeaderMap) -> Response {
    let repo = format!("{owner}/{repo}");
    let path = format!("/repos/{repo}/pulls/{number}");
    if let Err(refused) = admit(&github, &headers, &repo, ("pull_requests", "read"), ("GET", path, Value::Null)) {
        return refused;
    }
    match github.pulls.model().pulls.get(&(repo, number)) {
        Some(pull) => Json(pull.clone()).into_response(),
        None => refusal(404, "Not Found"),
    }
}

/// Answers for the people of pull requests.
pub(super) async fn permission(
    State(github): State<GitHub>,
    Path((owner, repo, login)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Response {
    let repo = format!("{owner}/{repo}");
    let path = format!("/repos/{repo}/collaborators/{login}/permission");
    if let Err(refused) = admit(&github, &headers, &repo, ("metadata", "read"), ("GET", path, Value::Null)) {
        return refused;
    }
    match github.pulls.model().people.get(&login) {
        Some((id, kind, permission)) => {
            let user = json!({"login": login, "id": id, "type": kind});
            Json(json!({"permission": permission, "role_name": permission, "user": user})).into_response()
        }
        None => refusal(404, "Not Found"),
    }
}

async fn list(
    State(github): State<GitHub>,
    Path((owner, repo, number)): Numbered,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let repo = format!("{owner}/{repo}");
    let path = format!("/repos/{repo}/issues/{number}/comments");
    if let Err(refused) = admit(&github, &headers, &repo, ("pull_requests", "read"), ("GET", path, Value::Null)) {
        return refused;
    }
    let (size, page): (usize, usize) = (query["per_page"].parse().unwrap(), query["page"].parse().unwrap());
    assert!((1..=100).contains(&size) && page > 0, "{query:?}");
    let end = format!("/issues/{number}");
    let since = query.get("since").map(String::as_str).unwrap_or_default();
    let fits = |(of, comment): &&(String, Value)| {
        *of == repo
            && comment["issue_url"].as_str().unwrap().ends_with(&end)
            && comment["updated_at"].as_str().unwrap() >= since
    };
    let model = github.pulls.model();
    let found = model.comments.iter().filter(fits).skip((page - 1) * size).take(size);
    Json(found.map(|(_, comment)| comment.clone()).collect::<Vec<_>>()).into_response()
}

async fn timeline(
    State(github): State<GitHub>,
    Path((owner, repo, number)): Numbered,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let repo = format!("{owner}/{repo}");
    let path = format!("/repos/{repo}/issues/{number}/timeline");
    if let Err(refused) = admit(&github, &headers, &repo, ("pull_requests", "read"), ("GET", path, Value::Null)) {
        return refused;
    }
    let (size, page): (usize, usize) = (query["per_page"].parse().unwrap(), query["page"].parse().unwrap());
    assert!((1..=100).contains(&size) && page > 0, "{query:?}");
    let model = github.pulls.model();
    let found = model.history.iter().filter(|(of, on, _)| *of == repo && *on == number);
    Json(found.skip((page - 1) * size).take(size).map(|(.., entry)| entry.clone()).collect::<Vec<_>>()).into_response()
}

/// Checks the text of a comment as GitHub does.
fn text(body: &Value) -> Result<String, Response> {
    let text = body["body"].as_str().unwrap_or_default();
    if text.trim().is_empty() || text.chars().count() > 65_536 {
        return Err(unprocessable("the body is missing, or over 65536 characters"));
    }
    Ok(text.to_owned())
}

async fn create(
    State(github): State<GitHub>,
    Path((owner, repo, number)): Numbered,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    let repo = format!("{owner}/{repo}");
    let path = format!("/repos/{repo}/issues/{number}/comments");
    if let Err(refused) = admit(&github, &headers, &repo, COMMENTS, ("POST", path, body.clone())) {
        return refused;
    }
    let text = match text(&body) {
        Ok(text) => text,
        Err(refused) => return refused,
    };
    let token = headers[header::AUTHORIZATION].to_str().unwrap();
    let (user, app) = match token.contains(TOKEN_PREFIX) {
        true => (json!({"login": "trainyard[bot]", "id": 4, "type": "Bot"}), json!({"id": APP_ID})),
        false => {
            assert!(token.contains(TOKEN), "only these two may write");
            (json!({"login": "trainyard-ci", "id": TOKEN_ACCOUNT, "type": "User"}), Value::Null)
        }
    };
    let mut model = github.pulls.model();
    if !model.pulls.contains_key(&(repo.clone(), number)) {
        return refusal(404, "Not Found");
    }
    model.add(&repo, number, user, app, &text);
    let (_, comment) = model.comments.last().unwrap().clone();
    drop(model);
    github.changed.notify_waiters();
    (StatusCode::CREATED, Json(comment)).into_response()
}

async fn show(State(github): State<GitHub>, Path((owner, repo, id)): Numbered, headers: HeaderMap) -> Response {
    let repo = format!("{owner}/{repo}");
    let path = format!("/repos/{repo}/issues/comments/{id}");
    if let Err(refused) = admit(&github, &headers, &repo, ("pull_requests", "read"), ("GET", path, Value::Null)) {
        return refused;
    }
    let model = github.pulls.model();
    match model.comments.iter().find(|(of, comment)| *of == repo && comment["id"] == id) {
        Some((_, comment)) => Json(comment.clone()).into_response(),
        None => refusal(404, "Not Found"),
    }
}

async fn update(
    State(github): State<GitHub>,
    Path((owner, repo, id)): Numbered,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    let repo = format!("{owner}/{repo}");
    let path = format!("/repos/{repo}/issues/comments/{id}");
    if let Err(refused) = admit(&github, &headers, &repo, COMMENTS, ("PATCH", path, body.clone())) {
        return refused;
    }
    let text = match text(&body) {
        Ok(text) => text,
        Err(refused) => return refused,
    };
    let mut model = github.pulls.model();
    let found = model.comments.iter_mut().find(|(of, comment)| *of == repo && comment["id"] == id);
    let Some((_, comment)) = found else { return refusal(404, "Not Found") };
    assert!(
        comment["performed_via_github_app"]["id"] == APP_ID || comment["user"]["id"] == TOKEN_ACCOUNT,
        "the service changes a comment of somebody else: {comment}"
    );
    comment["body"] = json!(text);
    Json(comment.clone()).into_response()
}

async fn react(
    State(github): State<GitHub>,
    Path((owner, repo, id)): Numbered,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    let repo = format!("{owner}/{repo}");
    let path = format!("/repos/{repo}/issues/comments/{id}/reactions");
    if let Err(refused) = admit(&github, &headers, &repo, COMMENTS, ("POST", path, body.clone())) {
        return refused;
    }
    let content = body["content"].as_str().unwrap_or_default().to_owned();
    if !["+1", "-1", "laugh", "confused", "heart", "hooray", "rocket", "eyes"].contains(&content.as_str()) {
        return unprocessable("no such reaction");
    }
    let mut model = github.pulls.model();
    if !model.comments.iter().any(|(of, comment)| *of == repo && comment["id"] == id) {
        return refusal(404, "Not Found");
    }
    let new = (id, content.clone());
    let code = if model.reactions.contains(&new) { StatusCode::OK } else { StatusCode::CREATED };
    if code == StatusCode::CREATED {
        model.reactions.push(new);
    }
    drop(model);
    github.changed.notify_waiters();
    (code, Json(json!({"id": 1, "content": content}))).into_response()
}
