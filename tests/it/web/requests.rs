//! Builds that are asked for over the API.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trainyard::domain::{BuildRequest, RepoId, TriggerKind};
use trainyard::store::requests;

use crate::support::app::App;
use crate::support::payload::{self, Delivery};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

async fn post(app: &App, token: Option<&str>, body: &str) -> (u16, Value) {
    let mut request = reqwest::Client::new().post(format!("{}/api/v1/repos/acme/styles/builds", app.base));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let answer = request.body(body.to_owned()).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn with_a_push() -> App {
    let app = App::start(&format!("[auth]\ntokens = {{ anna = \"{TOKEN}\" }}\n")).await;
    let repo = app.github.repo("acme/styles");
    repo.write(".travis.yml", "language: shell\nenv:\n  global: [A=push]\nscript: echo \"$A by $TRAVIS_EVENT_TYPE\"\n");
    let sha = repo.commit("Begin");
    Delivery::new("d-1", "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
    app.github.wait_for_end(&sha, "trainyard/push").await;
    app
}

async fn wait_for_end(app: &App, build: i64) -> String {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let state: Option<String> = sqlx::query_scalar(
            "select state::text from build where number = $1 and state not in ('queued', 'running')",
        )
        .bind(build)
        .fetch_optional(&app.db)
        .await
        .unwrap();
        if let Some(state) = state {
            return state;
        }
        assert!(Instant::now() < deadline, "build {build} does not end");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_request_builds_the_head_of_a_branch_with_its_own_configuration() {
    let app = with_a_push().await;
    for (token, told) in [(None, "Authorization: Bearer"), (Some("wrong"), "not among those")] {
        let (code, answer) = post(&app, token, "{}").await;
        assert!(code == 401 && answer["error"].as_str().unwrap().contains(told), "{code} {answer}");
    }
    let wanted = json!({ "request": {
        "branch": "main",
        "message": "Nightly [skip nothing]",
        "config": { "env": { "global": ["B=api"] }, "after_script": "echo \"$A and $B\"", "if": "type = api" },
    }});
    let mut seen = Vec::new();
    // The same request twice is two builds.
    for build in [2, 3] {
        let (code, answer) = post(&app, Some(TOKEN), &wanted.to_string()).await;
        assert_eq!((code, &answer["state"], &answer["build"]), (202, &json!("built"), &json!(build)), "{answer}");
        assert!(answer["build_url"].as_str().unwrap().ends_with(&format!("/acme/styles/builds/{build}")), "{answer}");
        assert_eq!(wait_for_end(&app, build).await, "passed");
        seen.push(answer["request"].as_str().unwrap().to_owned());
    }
    let log = String::from_utf8(app.log(2).await).unwrap();
    assert!(log.contains("push by api") && log.contains("push and api"), "{log}");
    let facts: (String, String, String) =
        sqlx::query_as("select kind::text, sender, message from build where number = 2")
            .fetch_one(&app.db)
            .await
            .unwrap();
    assert_eq!(facts, ("api".to_owned(), "anna".to_owned(), "Nightly [skip nothing]".to_owned()));
    let (code, state) = app.get(&format!("/api/v1/repos/acme/styles/requests/{}", seen[0])).await;
    assert!(code == 200 && state.contains("acme/styles#2"), "{code} {state}");

    // What a request replaces is gone, and what it has wrong is told in its build.
    let replaced = json!({ "config": "script: test -z \"$A\"\nlanguage: shell\n", "merge_mode": "replace" });
    assert_eq!(post(&app, Some(TOKEN), &replaced.to_string()).await.1["build"], 4);
    assert_eq!(wait_for_end(&app, 4).await, "passed");
    let (_, answer) = post(&app, Some(TOKEN), &json!({ "config": "script: [" }).to_string()).await;
    assert_eq!(answer["build"], 5);
    assert_eq!(wait_for_end(&app, 5).await, "errored");
    let place: String =
        sqlx::query_scalar("select file from problem join build on build.id = build_id where number = 5")
            .fetch_one(&app.db)
            .await
            .unwrap();
    assert_eq!(place, "api:config");
    let (_, answer) = post(&app, Some(TOKEN), &json!({ "branch": "gone" }).to_string()).await;
    assert_eq!((&answer["state"], &answer["build"]), (&json!("not built"), &Value::Null));
    assert!(answer["outcome"].as_str().unwrap().contains("has no branch gone"), "{answer}");
    app.stop().await;
}

#[tokio::test]
async fn bad_requests_and_floods_are_refused() {
    let app = with_a_push().await;
    for (body, told) in [
        ("nothing", "not a request in JSON"),
        ("{\"branche\": \"main\"}", "not a request in JSON"),
        ("{\"sha\": \"main\"}", "not a request in JSON"),
        ("{\"branch\": \"a b\"}", "no name of a branch"),
        ("{\"config\": 3}", "A config is a map"),
        ("{\"config\": {}, \"merge_mode\": \"mix\"}", "no merge mode"),
        ("{\"merge_mode\": \"replace\"}", "needs a config"),
        (&format!("{{\"message\": \"{}\"}}", "x".repeat(300 << 10)), "larger than 256.0 KiB"),
    ] {
        let (code, answer) = post(&app, Some(TOKEN), body).await;
        let wanted = if body.len() > 256 << 10 { 413 } else { 400 };
        assert!(code == wanted && answer["error"].as_str().unwrap().contains(told), "{code} {answer}");
    }
    let request = BuildRequest {
        repo: RepoId(1),
        kind: TriggerKind::Api,
        branch: "main".to_owned(),
        sha: None,
        before: None,
        message: None,
        requested_by: "anna".to_owned(),
        configs: Vec::new(),
        pull_request: None,
        trainings: None,
    };
    // In one transaction, so that intake takes none of them meanwhile.
    let mut tx = app.db.begin().await.unwrap();
    for _ in 0..requests::MAX_OPEN {
        assert!(requests::insert(&mut tx, &request).await.unwrap().is_some());
    }
    assert_eq!(requests::insert(&mut tx, &request).await.unwrap(), None);
    tx.rollback().await.unwrap();

    // A webhook's secret does not make requests.
    let body = serde_json::to_value(&request).unwrap();
    Delivery::new("d-forged", "request", &body).post(&app.base).await;
    let outcome: Option<String> =
        sqlx::query_scalar("select outcome from delivery where id = 'd-forged'").fetch_one(&app.db).await.unwrap();
    assert_eq!(outcome.as_deref(), Some("request events ask for nothing"));
    app.stop().await;
}
