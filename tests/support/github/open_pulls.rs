//! The open pull requests of the stand-in, as a list with a mark.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::{GitHub, number, redirection};

/// The open pull requests.
#[derive(Debug, Clone, Default)]
pub struct OpenPulls(Arc<Mutex<Model>>);

#[derive(Debug, Default)]
struct Model {
    /// Pull requests by the names of their repositories, the one that has changed last at the end.
    open: BTreeMap<String, Vec<Value>>,
    /// Status code of each answer.
    answers: Vec<u16>,
    requests: Vec<(String, String, Value)>,
}

/// A pull request that GitHub lists.
#[derive(Debug, Clone, Copy)]
pub struct Open<'a> {
    pub number: u32,
    /// Commit of its branch, and the branch with the name of its repository.
    pub head: (&'a str, &'a str, &'a str),
    /// Commit and branch that it would be merged into.
    pub base: (&'a str, &'a str),
    pub draft: bool,
}

impl OpenPulls {
    fn model(&self) -> MutexGuard<'_, Model> {
        self.0.lock().unwrap()
    }

    /// Opens a pull request of a repository, or changes it.
    pub fn open(&self, repo: &str, pull: Open<'_>) {
        let (sha, branch, head_repo) = pull.head;
        let listed = json!({
            "number": pull.number, "state": "open", "title": "Train a watercolour style", "draft": pull.draft,
            "user": {"login": "bob"}, "html_url": format!("http://localhost/{repo}/pull/{}", pull.number),
            "head": {"ref": branch, "sha": sha, "repo": {"id": number(head_repo), "full_name": head_repo}},
            "base": {"ref": pull.base.1, "sha": pull.base.0, "repo": {"id": number(repo), "full_name": repo}},
        });
        let mut model = self.model();
        let open = model.open.entry(repo.to_owned()).or_default();
        open.retain(|open| open["number"] != pull.number);
        open.push(listed);
    }

    pub fn close(&self, repo: &str, number: u32) {
        self.model().open.get_mut(repo).unwrap().retain(|open| open["number"] != number);
    }

    /// Lists the status codes of the answers.
    pub fn answers(&self) -> Vec<u16> {
        self.model().answers.clone()
    }

    pub fn requests(&self) -> Vec<(String, String, Value)> {
        self.model().requests.clone()
    }
}

/// Returns the part of the API that lists pull requests.
pub(super) fn routes() -> Router<GitHub> {
    Router::new()
        .route("/api/v3/repos/{owner}/{repo}/pulls", get(list))
        .route("/api/v3/repositories/{id}/pulls", get(list_by_number))
}

type Wanted = Query<BTreeMap<String, String>>;

async fn list(
    State(github): State<GitHub>,
    Path((owner, repo)): Path<(String, String)>,
    Query(query): Wanted,
    headers: HeaderMap,
) -> Response {
    let name = format!("{owner}/{repo}");
    if let Some(address) = github.successor(&name) {
        let query: Vec<String> = query.iter().map(|(key, value)| format!("{key}={value}")).collect();
        return redirection(301, &format!("{address}/pulls?{}", query.join("&")));
    }
    let answer = page(&github, &name, &query, &headers);
    let mut model = github.open_pulls.model();
    model.requests.push(("GET".to_owned(), format!("/repos/{name}/pulls"), Value::Null));
    model.answers.push(answer.status().as_u16());
    answer
}

async fn list_by_number(
    State(github): State<GitHub>,
    Path(id): Path<u32>,
    query: Wanted,
    headers: HeaderMap,
) -> Response {
    let Some(name) = github.name_of(id) else { return StatusCode::NOT_FOUND.into_response() };
    list(State(github), Path(name), query, headers).await
}

fn page(github: &GitHub, name: &str, query: &BTreeMap<String, String>, headers: &HeaderMap) -> Response {
    if let Err(refused) = github.check(headers, name, ("pull_requests", "read")) {
        return refused;
    }
    let asked = |key: &str| query.get(key).map(String::as_str).unwrap_or_default();
    let (size, page): (usize, usize) = (asked("per_page").parse().unwrap(), asked("page").parse().unwrap());
    assert!((1..=100).contains(&size) && page >= 1, "{query:?}");
    assert_eq!((asked("state"), asked("sort"), asked("direction")), ("open", "updated", "desc"));
    let all: Vec<Value> = github.open_pulls.model().open.get(name).into_iter().flatten().rev().cloned().collect();
    let listed: Vec<Value> = all.into_iter().skip((page - 1) * size).take(size).collect();
    let mark = format!("W/\"{:x}\"", number(&serde_json::to_string(&listed).unwrap()));
    if headers.get("if-none-match").is_some_and(|given| given.to_str().unwrap() == mark) {
        return StatusCode::NOT_MODIFIED.into_response();
    }
    ([("etag", mark)], Json(listed)).into_response()
}
