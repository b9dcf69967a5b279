//! The webhooks of the stand-in, with the logs of their deliveries.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::{GitHub, has_token, refusal};
use crate::support::payload::Delivery;

/// Number of the only webhook of each repository.
pub const HOOK: i64 = 77;

/// The webhooks.
#[derive(Debug, Clone, Default)]
pub struct Hooks(Arc<Mutex<Model>>);

#[derive(Debug, Default)]
struct Model {
    /// Address of each webhook, without the path: the App's for `""`, otherwise by repository or organization.
    urls: BTreeMap<String, String>,
    /// Address where the service listens.
    service: String,
    tries: Vec<Try>,
    requests: Vec<(String, String, Value)>,
    /// True when the personal token may not see the webhooks of repositories.
    are_hidden: bool,
    /// Status of the answer about webhooks of organizations, when the personal token may not see them.
    organizations: Option<u16>,
}

/// A try to send a delivery.
#[derive(Debug, Clone)]
struct Try {
    /// Repository or organization of the webhook; `""` for the App's.
    log: String,
    delivery: Arc<Delivery>,
    code: u16,
    at: DateTime<Utc>,
}

impl Hooks {
    fn model(&self) -> MutexGuard<'_, Model> {
        self.0.lock().unwrap()
    }

    /// Sets the webhook of a repository, or of the App for `""`, and the address where the service really listens.
    pub fn set(&self, log: &str, url: &str, service: &str) {
        let mut model = self.model();
        model.urls.insert(log.to_owned(), url.to_owned());
        model.service = service.to_owned();
    }

    /// Hides the webhooks of repositories from the personal token, or shows them again.
    pub fn hide(&self, are_hidden: bool) {
        self.model().are_hidden = are_hidden;
    }

    /// Hides the webhooks of organizations from the personal token, or shows them again.
    pub fn hide_organizations(&self, status: Option<u16>) {
        self.model().organizations = status;
    }

    /// Records a try that the service answered with this code, or not at all for 0.
    pub fn record(&self, log: &str, delivery: Delivery, code: u16, at: DateTime<Utc>) {
        self.model().tries.push(Try { log: log.to_owned(), delivery: Arc::new(delivery), code, at });
    }

    pub fn requests(&self) -> Vec<(String, String, Value)> {
        self.model().requests.clone()
    }

    /// Lists the deliveries that were asked for, in order.
    pub fn asked(&self) -> Vec<String> {
        let model = self.model();
        let number = |path: &str| path.split('/').rev().nth(1).and_then(|id| id.parse::<usize>().ok()).unwrap();
        let asked = model.requests.iter().filter(|(method, ..)| method == "POST");
        asked.map(|(_, path, _)| model.tries[number(path)].delivery.id.clone()).collect()
    }

    fn list(&self, log: &str, path: &str, query: &BTreeMap<String, String>, api: &str) -> Response {
        let asked = |key: &str| query.get(key).map(String::as_str);
        let size: usize = asked("per_page").unwrap_or("30").parse().unwrap();
        let after: usize = asked("cursor").map_or(usize::MAX, |cursor| cursor.parse().unwrap());
        let only_failed = asked("status") == Some("failure");
        let model = self.model();
        let is_wanted = |(at, one): &(usize, &Try)| {
            *at < after && one.log == log && (!only_failed || (400..600).contains(&one.code))
        };
        let found: Vec<(usize, &Try)> = model.tries.iter().enumerate().rev().filter(is_wanted).collect();
        let described = found.iter().take(size).map(|(id, one)| {
            json!({
                "id": id, "guid": one.delivery.id, "delivered_at": one.at, "redelivery": false, "duration": 0.1,
                "status": if one.code == 0 { "failed to connect to host" } else { "Invalid HTTP Response" },
                "status_code": one.code, "event": one.delivery.event, "action": null,
            })
        });
        let listed: Vec<Value> = described.collect();
        let mut response = Json(listed).into_response();
        if found.len() > size {
            let status = asked("status").map(|status| format!("&status={status}")).unwrap_or_default();
            let next = format!("{api}{path}?per_page={size}&cursor={}{status}", found[size - 1].0);
            let link = format!("<{api}/other>; rel=\"first\", <{next}>; rel=\"next\"");
            response.headers_mut().insert("link", link.parse().unwrap());
        }
        response
    }

    /// Sends a delivery again, and records that try.
    async fn send(&self, log: &str, id: usize) -> Response {
        let (service, known) = {
            let model = self.model();
            (model.service.clone(), model.tries.get(id).filter(|one| one.log == log).cloned())
        };
        let Some(one) = known else { return refusal(404, "Not Found") };
        let code = one.delivery.try_post(&service).await.unwrap_or(0);
        self.model().tries.push(Try { code, at: Utc::now(), ..one });
        (StatusCode::ACCEPTED, Json(json!({}))).into_response()
    }
}

/// Returns the part of the API that is for webhooks.
pub(super) fn routes() -> Router<GitHub> {
    Router::new()
        .route("/api/v3/app/hook/config", get(app_config))
        .route("/api/v3/app/hook/deliveries", get(app_log))
        .route("/api/v3/app/hook/deliveries/{id}/attempts", post(app_attempt))
        .route("/api/v3/repos/{owner}/{repo}/hooks", get(hooks))
        .route("/api/v3/orgs/{organization}/hooks", get(organization_hooks))
        .route("/api/v3/orgs/{organization}/hooks/{hook}/deliveries", get(organization_log))
        .route("/api/v3/orgs/{organization}/hooks/{hook}/deliveries/{id}/attempts", post(organization_attempt))
        .route("/api/v3/repos/{owner}/{repo}/hooks/{hook}/deliveries", get(hook_log))
        .route("/api/v3/repos/{owner}/{repo}/hooks/{hook}/deliveries/{id}/attempts", post(hook_attempt))
}

type Wanted = Query<BTreeMap<String, String>>;

async fn app_config(State(github): State<GitHub>, headers: HeaderMap) -> Response {
    if let Err(refused) = github.as_app(&headers, ("GET", "/app/hook/config".to_owned(), Value::Null)) {
        return refused;
    }
    let url = github.hooks.model().urls.get("").cloned().unwrap_or_default();
    github.dated(Json(json!({"url": url, "content_type": "json", "secret": "********"})).into_response())
}

async fn app_log(State(github): State<GitHub>, Query(query): Wanted, headers: HeaderMap) -> Response {
    let path = "/app/hook/deliveries";
    github.hooks.model().requests.push(("GET".to_owned(), path.to_owned(), Value::Null));
    if let Err(refused) = github.as_app(&headers, ("GET", path.to_owned(), Value::Null)) {
        return refused;
    }
    github.dated(github.hooks.list("", path, &query, &github.api_url()))
}

async fn app_attempt(State(github): State<GitHub>, Path(id): Path<usize>, headers: HeaderMap) -> Response {
    let path = format!("/app/hook/deliveries/{id}/attempts");
    github.hooks.model().requests.push(("POST".to_owned(), path.clone(), Value::Null));
    if let Err(refused) = github.as_app(&headers, ("POST", path, Value::Null)) {
        return refused;
    }
    let sent = github.hooks.send("", id).await;
    github.dated(sent)
}

impl GitHub {
    /// Records a request about webhooks of a repository, which only the personal token of an administrator may make.
    fn as_administrator(&self, headers: &HeaderMap, method: &str, path: String) -> Result<(), Response> {
        let mut model = self.hooks.model();
        model.requests.push((method.to_owned(), path, Value::Null));
        if !has_token(headers) {
            return Err(refusal(401, "Bad credentials"));
        }
        if model.are_hidden { Err(refusal(404, "Not Found")) } else { Ok(()) }
    }
}

/// Describes the webhook of a repository or an organization, next to one of another service.
fn describe(github: &GitHub, log: &str) -> Response {
    let url = github.hooks.model().urls.get(log).cloned();
    let described =
        |url| json!({"id": HOOK, "active": true, "events": ["push"], "config": {"url": url, "secret": "********"}});
    let other = json!({"id": 1, "active": true, "events": ["push"], "config": {"url": "https://other.example/hook"}});
    Json(url.map(described).into_iter().chain([other]).collect::<Vec<_>>()).into_response()
}

async fn hooks(
    State(github): State<GitHub>,
    Path((owner, repo)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let name = format!("{owner}/{repo}");
    if let Err(refused) = github.as_administrator(&headers, "GET", format!("/repos/{name}/hooks")) {
        return refused;
    }
    describe(&github, &name)
}

async fn hook_log(
    State(github): State<GitHub>,
    Path((owner, repo, hook)): Path<(String, String, i64)>,
    Query(query): Wanted,
    headers: HeaderMap,
) -> Response {
    let (name, path) = (format!("{owner}/{repo}"), format!("/repos/{owner}/{repo}/hooks/{hook}/deliveries"));
    if let Err(refused) = github.as_administrator(&headers, "GET", path.clone()) {
        return refused;
    }
    assert_eq!(hook, HOOK, "the log of another service's webhook was read");
    github.hooks.list(&name, &path, &query, &github.api_url())
}

async fn hook_attempt(
    State(github): State<GitHub>,
    Path((owner, repo, hook, id)): Path<(String, String, i64, usize)>,
    headers: HeaderMap,
) -> Response {
    let path = format!("/repos/{owner}/{repo}/hooks/{hook}/deliveries/{id}/attempts");
    if let Err(refused) = github.as_administrator(&headers, "POST", path) {
        return refused;
    }
    github.hooks.send(&format!("{owner}/{repo}"), id).await
}

impl GitHub {
    /// Records a request about webhooks of an organization, which only the token of an owner with that scope may make.
    fn as_owner(&self, headers: &HeaderMap, method: &str, path: String) -> Result<(), Response> {
        let mut model = self.hooks.model();
        model.requests.push((method.to_owned(), path, Value::Null));
        if !has_token(headers) {
            return Err(refusal(401, "Bad credentials"));
        }
        match model.organizations {
            Some(403) => Err(refusal(403, "Resource not accessible by personal access token")),
            Some(status) => Err(refusal(status, "Not Found")),
            None => Ok(()),
        }
    }
}

async fn organization_hooks(
    State(github): State<GitHub>,
    Path(organization): Path<String>,
    headers: HeaderMap,
) -> Response {
    if let Err(refused) = github.as_owner(&headers, "GET", format!("/orgs/{organization}/hooks")) {
        return refused;
    }
    describe(&github, &organization)
}

async fn organization_log(
    State(github): State<GitHub>,
    Path((organization, hook)): Path<(String, i64)>,
    Query(query): Wanted,
    headers: HeaderMap,
) -> Response {
    let path = format!("/orgs/{organization}/hooks/{hook}/deliveries");
    if let Err(refused) = github.as_owner(&headers, "GET", path.clone()) {
        return refused;
    }
    assert_eq!(hook, HOOK, "the log of another service's webhook was read");
    github.hooks.list(&organization, &path, &query, &github.api_url())
}

async fn organization_attempt(
    State(github): State<GitHub>,
    Path((organization, hook, id)): Path<(String, i64, usize)>,
    headers: HeaderMap,
) -> Response {
    let path = format!("/orgs/{organization}/hooks/{hook}/deliveries/{id}/attempts");
    if let Err(refused) = github.as_owner(&headers, "POST", path) {
        return refused;
    }
    github.hooks.send(&organization, id).await
}
