//! Signed webhooks to programs of the operator, which a client library of Standard Webhooks verifies.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::webhooks::settle;
use crate::support::app::App;
use crate::support::git_host::Repo;
use crate::support::payload::{self, Delivery};

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

type Shared = Arc<Mutex<Model>>;

#[derive(Debug, Default)]
struct Model {
    got: Vec<(BTreeMap<String, String>, String)>,
    answers: Vec<u16>,
}

pub struct Program {
    address: SocketAddr,
    model: Shared,
    _serving: JoinSet<()>,
}

impl Program {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let model = Shared::default();
        let router = Router::new().route("/builds", post(take)).with_state(Arc::clone(&model));
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, model, _serving: serving }
    }

    pub fn section(&self, more: &str) -> String {
        format!(
            "[notifications]\nallow = ['127.0.0.1']\n[[notifications.webhook]]\nname = 'deploy'\n\
             url = 'http://{}/builds'\nsecret = '{SECRET}'\n{more}\n",
            self.address
        )
    }

    pub fn got(&self) -> Vec<(BTreeMap<String, String>, String)> {
        self.model.lock().unwrap().got.clone()
    }
}

async fn take(State(model): State<Shared>, headers: HeaderMap, body: String) -> StatusCode {
    let text = |value: &axum::http::HeaderValue| value.to_str().unwrap().to_owned();
    let headers = headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    let mut model = model.lock().unwrap();
    model.got.push((headers, body));
    let answer = if model.answers.is_empty() { 204 } else { model.answers.remove(0) };
    StatusCode::from_u16(answer).unwrap()
}

/// Returns the payload, if the library of the standard says that the webhook is ours.
fn verified(secret: &str, headers: &BTreeMap<String, String>, body: &str) -> Option<Value> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/npm/verify-webhook.mjs");
    let mut node = Command::new("node")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("node is installed (`make setup-test`)");
    let input = json!({"secret": secret, "headers": headers, "body": body}).to_string();
    node.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = node.wait_with_output().unwrap();
    output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
}

async fn push(app: &App, repo: &Repo, script: &str, message: &str) -> String {
    repo.write(".travis.yml", &format!("language: shell\nname: unit\nscript: \"{script}\"\n"));
    let sha = repo.commit(message);
    Delivery::new(&sha, "push", &payload::push(&app.github, repo, "main")).post(&app.base).await;
    app.github.wait_for_end(&sha, "trainyard/push").await;
    settle(&app.db).await;
    sha
}

#[tokio::test]
async fn a_program_verifies_the_events_of_a_build_with_the_standards_library() {
    let program = Program::start().await;
    let app = App::start(&program.section("")).await;
    let repo = app.github.repo("acme/styles");
    let sha = push(&app, &repo, "false", "Paint").await;
    let got = program.got();
    assert_eq!(got.len(), 2, "{got:?}");
    let events: Vec<Value> = got
        .iter()
        .map(|(headers, body)| verified(SECRET, headers, body).unwrap_or_else(|| panic!("{headers:?} {body}")))
        .collect();
    let types: Vec<&Value> = events.iter().map(|event| &event["type"]).collect();
    assert_eq!(types, ["build.started", "build.finished"]);
    assert_ne!(got[0].0["webhook-id"], got[1].0["webhook-id"]);
    let data = &events[1]["data"];
    let build = &data["build"];
    assert_eq!(data["repository"]["name"], "acme/styles");
    assert_eq!(
        [&build["state"], &build["commit"], &build["branch"], &build["message"], &build["event"]],
        ["failed", sha.as_str(), "main", "Paint", "push"]
    );
    assert!(build["url"].as_str().unwrap().ends_with("/acme/styles/builds/1"), "{build}");
    assert!(build["summary"].as_str().unwrap().contains("exited with 1"), "{build}");
    let job = &data["jobs"][0];
    assert_eq!([&job["number"], &job["name"], &job["state"], &job["verdict"]], ["1.1", "unit", "finished", "failed"]);
    // Another secret, another body, or another time is not ours.
    let (headers, body) = &got[1];
    assert_eq!(verified("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", headers, body), None);
    assert_eq!(verified(SECRET, headers, &body.replace("failed", "passed")), None);
    let mut later = headers.clone();
    let time: i64 = later["webhook-timestamp"].parse().unwrap();
    later.insert("webhook-timestamp".to_owned(), (time + 1).to_string());
    assert_eq!(verified(SECRET, &later, body), None);
    let (_, page) = app.get("/acme/styles/builds/1").await;
    assert!(page.contains("the webhook deploy") && page.contains("sent"), "{page}");
    app.stop().await;
}

#[tokio::test]
async fn a_try_repeats_the_id_and_a_refusal_is_an_alert() {
    let program = Program::start().await;
    let app = App::start(&program.section("on_start = 'never'")).await;
    let repo = app.github.repo("acme/styles");
    program.model.lock().unwrap().answers = vec![500, 204];
    push(&app, &repo, "true", "Paint").await;
    let got = program.got();
    assert_eq!(got.len(), 2);
    assert_eq!(got[0].0["webhook-id"], got[1].0["webhook-id"]);
    assert!(got.iter().all(|(headers, body)| verified(SECRET, headers, body).is_some()));
    program.model.lock().unwrap().answers = vec![410];
    push(&app, &repo, "true", "Go on").await;
    let alert = "select message from alert where component = 'webhook deploy'";
    let message: Option<String> = sqlx::query_scalar(alert).fetch_optional(&app.db).await.unwrap();
    assert_eq!(message.as_deref(), Some("it takes no messages: it answered 410"));
    app.stop().await;
}

#[tokio::test]
async fn a_program_on_this_machine_needs_the_leave_of_the_operator() {
    let program = Program::start().await;
    let closed = program.section("").replace("allow = ['127.0.0.1']", "allow = []");
    let app = App::start(&closed).await;
    let repo = app.github.repo("acme/styles");
    push(&app, &repo, "true", "Paint").await;
    assert!(program.got().is_empty());
    let (_, page) = app.get("/acme/styles/builds/1").await;
    assert!(page.contains("not on the internet"), "{page}");
    app.stop().await;
}
