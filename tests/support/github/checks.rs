//! The check runs of the stand-in, which only tokens of an App may write.

use std::sync::{Arc, Mutex, MutexGuard};

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::{GitHub, refusal, unprocessable};

/// The check runs, and the requests for them: method, path and body.
#[derive(Debug, Clone, Default)]
pub struct Checks(Arc<Mutex<Model>>);

#[derive(Debug, Default)]
struct Model {
    /// Name of the repository, and the check run with its annotations in `annotations`.
    runs: Vec<(String, Value)>,
    requests: Vec<(String, String, Value)>,
}

impl Checks {
    fn model(&self) -> MutexGuard<'_, Model> {
        self.0.lock().unwrap()
    }

    /// Lists the check runs, each with all of its annotations.
    pub fn runs(&self) -> Vec<Value> {
        self.model().runs.iter().map(|(_, run)| run.clone()).collect()
    }

    /// Changes a check run, as another App or GitHub might.
    pub fn change(&self, id: usize, change: impl FnOnce(&mut Value)) {
        change(&mut self.model().runs[id].1);
    }

    pub fn requests(&self) -> Vec<(String, String, Value)> {
        self.model().requests.clone()
    }
}

/// Returns the part of the API that is for check runs.
pub(super) fn routes() -> Router<GitHub> {
    Router::new()
        .route("/api/v3/repos/{owner}/{repo}/check-runs", post(create))
        .route("/api/v3/repos/{owner}/{repo}/check-runs/{id}", get(show).patch(update))
        .route("/api/v3/repos/{owner}/{repo}/commits/{sha}/check-runs", get(list))
        .route("/api/v3/repos/{owner}/{repo}/check-suites/{id}", get(suite))
}

type Target = Path<(String, String)>;
type Numbered = Path<(String, String, usize)>;

/// Checks a body as GitHub does, and puts it into a check run.
fn merge(run: &mut Value, body: &Value) -> Result<(), Response> {
    let output = &body["output"];
    let new = output["annotations"].as_array().cloned().unwrap_or_default();
    let length = |key: &str| output[key].as_str().map_or(0, |text| text.chars().count());
    if new.len() > 50 || length("summary") > 65_535 || length("summary") == 0 || length("title") == 0 {
        return Err(unprocessable("more than 50 annotations, a summary over 65535 characters, or a text is missing"));
    }
    let actions = body["actions"].as_array().cloned().unwrap_or_default();
    let fits = |action: &Value| {
        let length = |key: &str| action[key].as_str().map_or(0, |text| text.chars().count());
        (1..=20).contains(&length("label"))
            && (1..=40).contains(&length("description"))
            && (1..=20).contains(&length("identifier"))
    };
    if actions.len() > 3 || !actions.iter().all(fits) {
        return Err(unprocessable("more than 3 actions, or one with a text that is too long"));
    }
    if body["status"] == "completed" && body["conclusion"].is_null() {
        return Err(unprocessable("a completed check run needs a conclusion"));
    }
    for (key, value) in body.as_object().unwrap().iter().filter(|(key, _)| *key != "output") {
        run[key.as_str()] = value.clone();
    }
    if body["conclusion"].is_null() {
        run["conclusion"] = Value::Null;
    }
    let mut all = run["annotations"].as_array().cloned().unwrap_or_default();
    all.extend(new);
    run["output"] = json!({"title": output["title"], "summary": output["summary"], "annotations_count": all.len()});
    run["annotations"] = all.into();
    Ok(())
}

/// Records a request, and checks its token.
fn admit(github: &GitHub, headers: &HeaderMap, repo: &str, request: (&str, String, Value)) -> Result<(), Response> {
    let (method, path, body) = request;
    github.checks.model().requests.push((method.to_owned(), path, body));
    github.check(headers, repo, ("checks", "write"))?;
    if headers["authorization"].to_str().unwrap().contains(super::TOKEN) {
        return Err(refusal(403, "You must authenticate via a GitHub App."));
    }
    Ok(())
}

async fn create(
    State(github): State<GitHub>,
    Path((owner, repo)): Target,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    let name = format!("{owner}/{repo}");
    if let Err(refused) = admit(&github, &headers, &name, ("POST", format!("/repos/{name}/check-runs"), body.clone())) {
        return refused;
    }
    let mut model = github.checks.model();
    let mut run = json!({"id": model.runs.len(), "app": {"id": super::app::APP_ID}});
    if let Err(refused) = merge(&mut run, &body) {
        return refused;
    }
    model.runs.push((name, run.clone()));
    drop(model);
    github.changed.notify_waiters();
    (StatusCode::CREATED, Json(run)).into_response()
}

async fn update(
    State(github): State<GitHub>,
    Path((owner, repo, id)): Numbered,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    let name = format!("{owner}/{repo}");
    let path = format!("/repos/{name}/check-runs/{id}");
    if let Err(refused) = admit(&github, &headers, &name, ("PATCH", path, body.clone())) {
        return refused;
    }
    let mut model = github.checks.model();
    let Some((_, run)) = model.runs.get_mut(id).filter(|(of, _)| *of == name) else { return refusal(404, "Not Found") };
    if let Err(refused) = merge(run, &body) {
        return refused;
    }
    Json(run.clone()).into_response()
}

async fn show(State(github): State<GitHub>, Path((owner, repo, id)): Numbered, headers: HeaderMap) -> Response {
    let name = format!("{owner}/{repo}");
    let path = format!("/repos/{name}/check-runs/{id}");
    if let Err(refused) = admit(&github, &headers, &name, ("GET", path, Value::Null)) {
        return refused;
    }
    match github.checks.model().runs.get(id).filter(|(of, _)| *of == name) {
        Some((_, run)) => Json(run.clone()).into_response(),
        None => refusal(404, "Not Found"),
    }
}

async fn list(
    State(github): State<GitHub>,
    Path((owner, repo, sha)): Path<(String, String, String)>,
    Query(query): Query<std::collections::BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let name = format!("{owner}/{repo}");
    let path = format!("/repos/{name}/commits/{sha}/check-runs");
    if let Err(refused) = admit(&github, &headers, &name, ("GET", path, Value::Null)) {
        return refused;
    }
    let runs = github.checks.runs();
    let fits = |run: &&Value| run["head_sha"] == sha.as_str() && run["name"] == query["check_name"].as_str();
    let found: Vec<Value> = runs.iter().filter(fits).cloned().collect();
    Json(json!({"total_count": found.len(), "check_runs": found})).into_response()
}

/// Answers with the suite of a check run, which has the number of that.
async fn suite(State(github): State<GitHub>, Path((owner, repo, id)): Numbered, headers: HeaderMap) -> Response {
    let name = format!("{owner}/{repo}");
    let path = format!("/repos/{name}/check-suites/{id}");
    if let Err(refused) = admit(&github, &headers, &name, ("GET", path, Value::Null)) {
        return refused;
    }
    match github.checks.model().runs.get(id).filter(|(of, _)| *of == name) {
        Some((_, run)) => Json(json!({"id": id, "head_sha": run["head_sha"], "app": run["app"]})).into_response(),
        None => refusal(404, "Not Found"),
    }
}
