//! A web side with a public and a private repository, and requests to it.

use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::Value;
use sqlx::PgPool;
use tower::ServiceExt as _;
use trainyard::domain::{GpuRequest, JobKind, RepoId, Requirements, Right, Trigger, Verdict};
use trainyard::store::people::persons::Person;
use trainyard::store::queue::{Claimed, NewJob};
use trainyard::web;

use crate::support::people::{self, CSRF};
use crate::support::{database, web as support};

/// Token of an operator in the configuration.
pub(super) const OPERATOR: &str = "0123456789abcdef0123456789abcdef";

pub(super) struct World {
    pub(super) state: web::State,
    pub(super) secret: RepoId,
    pub(super) open: RepoId,
}

/// An answer, with its body as JSON where it is JSON.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl World {
    pub(super) async fn new() -> Self {
        let db = database::pool().await;
        // A local user is a login, so reading is not open.
        trainyard::store::people::persons::insert_local(&db, "root", "no password has this hash", true).await.unwrap();
        let access = support::access(&db, &format!("tokens = {{ ops = {OPERATOR:?} }}"));
        let state = web::State { access, ..support::state(&db) };
        let secret = support::repo_named(&db, 1, "acme/secret", true).await;
        let open = support::repo_named(&db, 2, "acme/open", false).await;
        Self { state, secret, open }
    }

    pub(super) fn db(&self) -> &PgPool {
        &self.state.db
    }

    /// Stores a build with these jobs, and returns its number.
    pub(super) async fn build(&self, repo: RepoId, jobs: &[NewJob]) -> i32 {
        let name = if repo == self.secret { "acme/secret" } else { "acme/open" };
        let trigger = Trigger { repo: name.parse().unwrap(), ..support::push("main") };
        let build = support::build(self.db(), repo, &trigger, jobs, &[]).await;
        sqlx::query_scalar("select number from build where id = $1").bind(build).fetch_one(self.db()).await.unwrap()
    }

    /// Stores a build with a job that has passed, and has said hello.
    pub(super) async fn finished(&self, repo: RepoId) -> Claimed {
        self.build(repo, &[job("unit")]).await;
        let job = support::claim(self.db()).await;
        support::write(&self.state, &job, 0, "hello\n").await;
        support::finish(&self.state, &job, 6, Verdict::Passed, None).await;
        job
    }

    /// Makes a person who may read and write in the private repository, with a token of this scope.
    pub(super) async fn person(&self, login: &str, right: Right) -> (Person, String) {
        let person = people::person(self.db(), i64::try_from(login.len()).unwrap(), login).await;
        people::allow(self.db(), person.id, self.secret, Some(right)).await;
        people::allow(self.db(), person.id, self.open, Some(right)).await;
        let token = people::token(self.db(), person.id, "laptop", right, None).await;
        (person, token)
    }

    pub(super) async fn get(&self, path: &str, token: &str) -> Answer {
        self.send(request("GET", path, token).body(Body::empty()).unwrap()).await
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Answer {
        let response = web::router(self.state.clone()).oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Answer { status: parts.status, headers: parts.headers, body }
    }
}

/// Begins a request with a token; without one, if it is empty.
pub(super) fn request(method: &str, path: &str, token: &str) -> axum::http::request::Builder {
    let request = Request::builder().method(method).uri(path);
    match token {
        "" => request,
        token => request.header(header::AUTHORIZATION, format!("Bearer {token}")),
    }
}

/// Begins a request of a page's script in a browser.
pub(super) fn in_browser(method: &str, path: &str, session: &str) -> axum::http::request::Builder {
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::COOKIE, format!("__Host-trainyard={session}"))
        .header("sec-fetch-site", "same-origin")
        .header("x-csrf-token", CSRF)
}

pub(super) fn job(name: &str) -> NewJob {
    support::job(JobKind::Script, None, name)
}

pub(super) fn job_with_gpus(name: &str) -> NewJob {
    let gpus = Some(GpuRequest { count: 2, memory: 0, class: None });
    NewJob { requirements: Requirements { gpus, ..Requirements::default() }, ..job(name) }
}
