//! Travis's API, as its clients ask for it, and by a real one of them.

use std::path::Path;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use trainyard::domain::{JobKind, Verdict};
use trainyard::web;

use crate::support::database;
use crate::support::web::{access, build, claim, finish, job, push, repo, serve, state, write};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

async fn get(state: &web::State, path: &str) -> (StatusCode, String) {
    let request = Request::get(format!("/api/travis{path}")).header("travis-api-version", "3");
    let response = web::router(state.clone()).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn json_of(state: &web::State, path: &str) -> Value {
    let (status, body) = get(state, path).await;
    assert_eq!(status, StatusCode::OK, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

/// Three builds: one that passed, one that failed, and one that is queued.
async fn history() -> web::State {
    let state = state(&database::pool().await);
    let repo = repo(&state.db).await;
    for verdict in [Verdict::Passed, Verdict::Failed] {
        build(&state.db, repo, &push("main"), &[job(JobKind::Script, None, "unit")], &[]).await;
        let claimed = claim(&state.db).await;
        write(&state, &claimed, 0, "hello\n").await;
        finish(&state, &claimed, 6, verdict, None).await;
    }
    build(&state.db, repo, &push("feature/x"), &[job(JobKind::Script, None, "unit")], &[]).await;
    state
}

#[tokio::test]
async fn a_repository_is_found_by_its_name_and_by_its_number() {
    let state = history().await;
    let named = json_of(&state, "/repo/acme%2Flora-styles").await;
    assert_eq!((&named["@type"], &named["slug"]), (&json!("repository"), &json!("acme/lora-styles")));
    assert_eq!(named["default_branch"]["name"], "main");
    for path in ["/repo/1", "/repo/github/acme%2Flora-styles", "/v3/repo/Acme%2FLora-Styles"] {
        assert_eq!(json_of(&state, path).await, named, "{path}");
    }
    for path in ["/repo/acme%2Fother", "/repo/2", "/repo/acme", "/build/99", "/job/99", "/job/99/log"] {
        let (status, body) = get(&state, path).await;
        let error: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            (status, &error["@type"], &error["error_type"]),
            (StatusCode::NOT_FOUND, &json!("error"), &json!("not_found"))
        );
    }
}

#[tokio::test]
async fn builds_are_read_page_by_page() {
    let state = history().await;
    let mut path = "/repo/acme%2Flora-styles/builds?limit=2&include=build.jobs".to_owned();
    let mut seen = Vec::new();
    loop {
        let page = json_of(&state, &path).await;
        assert_eq!(page["@pagination"]["count"], 3);
        for build in page[page["@type"].as_str().unwrap()].as_array().unwrap() {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            assert_eq!(build["jobs"][0]["number"], format!("{}.1", text(&build["number"])));
            seen.push(
                [&build["number"], &build["state"], &build["previous_state"], &build["branch"]["name"]].map(text),
            );
        }
        match page["@pagination"]["next"]["@href"].as_str() {
            Some(next) => next.clone_into(&mut path),
            None => break,
        }
    }
    let expected = [["3", "created", "", "feature/x"], ["2", "failed", "passed", "main"], ["1", "passed", "", "main"]];
    assert_eq!(seen, expected);
    let of_branch = json_of(&state, "/repo/1/builds?branch.name=feature/x").await;
    assert_eq!(of_branch["builds"].as_array().unwrap().len(), 1);
    assert_eq!(of_branch["builds"][0]["jobs"][0]["@representation"], "minimal");
    let beyond = json_of(&state, "/repo/1/builds?offset=9223372036854775807&limit=-5").await;
    assert_eq!(beyond["builds"], json!([]));
}

#[tokio::test]
async fn a_build_its_jobs_and_their_logs_lead_to_each_other() {
    let state = history().await;
    let build = json_of(&state, "/build/2").await;
    assert_eq!(
        (&build["number"], &build["state"], &build["event_type"]),
        (&json!("2"), &json!("failed"), &json!("push"))
    );
    assert_eq!(build["commit"]["ref"], "refs/heads/main");
    let job = json_of(&state, build["jobs"][0]["@href"].as_str().unwrap()).await;
    assert_eq!((&job["number"], &job["state"]), (&json!("2.1"), &json!("failed")));
    assert_eq!(json_of(&state, "/build/2/jobs").await["jobs"], json!([job]));
    let log = json_of(&state, "/job/2/log").await;
    assert_eq!((&log["content"], &log["log_parts"][0]["final"]), (&json!("hello\n"), &json!(true)));
    for path in [log["@raw_log_href"].as_str().unwrap(), "/v3/job/2/log.txt"] {
        assert_eq!(get(&state, path).await, (StatusCode::OK, "hello\n".to_owned()));
    }
    let active = json_of(&state, "/owner/ACME/active").await;
    assert_eq!(json_of(&state, "/owner/github/ACME/active").await, active);
    let ids: Vec<&Value> = active["builds"].as_array().unwrap().iter().map(|build| &build["id"]).collect();
    assert_eq!(ids, [&json!(3)]);
    assert_eq!(json_of(&state, "/owner/nobody/active").await["builds"], json!([]));
}

#[tokio::test]
async fn a_tray_shows_the_last_result() {
    let state = history().await;
    let (status, xml) = get(&state, "/repos/acme/lora-styles/cc.xml").await;
    assert_eq!(status, StatusCode::OK);
    let expected = "<Project name=\"acme/lora-styles\" activity=\"Sleeping\" lastBuildStatus=\"Failure\" \
                    lastBuildLabel=\"3\" lastBuildTime=\"";
    assert!(xml.contains(expected) && xml.contains("webUrl=\"https://ci.example/acme/lora-styles\"/>"), "{xml}");
    let (_, feature) = get(&state, "/repos/acme/lora-styles/cc.xml?branch=feature/x").await;
    assert!(feature.contains("lastBuildStatus=\"Unknown\""), "{feature}");
    assert_eq!(get(&state, "/repos/acme/other/cc.xml").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn pytravisci_reads_and_changes_builds() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let packages = root.join("tests/pip/packages");
    assert!(packages.join("PyTravisCI").is_dir(), "the packages of tests/pip are installed (`make setup-test`)");
    let state = history().await;
    let state = web::State { access: access(&state.db, &format!("tokens = {{anna = '{TOKEN}'}}")), ..state };
    let (address, _serving) = serve(state.clone(), web::Bounds::default(), &CancellationToken::new()).await;
    let mut client = Command::new("python3");
    client.arg(root.join("tests/fixtures/travis/client.py")).arg(format!("http://{address}/api/travis")).arg(TOKEN);
    client.env("PYTHONPATH", packages).env("PYTHONDONTWRITEBYTECODE", "1").env("NO_PROXY", "127.0.0.1");
    let output = client.output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let expected = json!({
        "repo": ["acme/lora-styles", "main", false],
        "none": ["not_found", "There is no such repository here."],
        "builds": [["3", "created"], ["2", "failed"]],
        "next": ["1"],
        "failed": [true, "refs/heads/main", "passed"],
        "log": ["2.1", "hello\n"],
        "active": ["3"],
        "canceled": ["cancel", "build", "canceled"],
        "restarted": ["restart", "created"],
        "job": ["restart", "job", "queued"],
        "request": ["request", "main", "pending"],
        "lint": found["lint"],
        "clean": 0,
        "strange": found["strange"],
    });
    assert_eq!(found, expected);
    let lint = found["lint"].to_string();
    assert!(lint.contains("language") && lint.contains("shel"), "{lint}");
    assert_eq!(found["strange"][0], "login_required");
    let who: Vec<String> = sqlx::query_scalar("select requested_by from restart").fetch_all(&state.db).await.unwrap();
    assert_eq!(who, ["anna", "anna"]);
    let recorded: Vec<String> =
        sqlx::query_scalar("select what from audit order by id").fetch_all(&state.db).await.unwrap();
    assert_eq!(recorded, ["cancel", "restart", "cancel", "restart", "request a build"]);
    let asked = "select body from delivery where source = 'request'";
    let body: Vec<u8> = sqlx::query_scalar(asked).fetch_one(&state.db).await.unwrap();
    let asked: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&asked["branch"], &asked["message"]), (&json!("main"), &json!("Train longer")));
}

/// Posts a body with a token. Returns the status and the answer.
async fn post(state: &web::State, path: &str, token: &str, body: &str) -> (StatusCode, Value) {
    let request = Request::post(format!("/api/travis{path}")).header("authorization", format!("token {token}"));
    let request = request.body(Body::from(body.to_owned())).unwrap();
    let response = web::router(state.clone()).oneshot(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn what_cannot_be_changed_is_refused_in_travis_form() {
    let state = history().await;
    let state = web::State { access: access(&state.db, &format!("tokens = {{anna = '{TOKEN}'}}")), ..state };
    for path in ["/build/1/cancel", "/job/1/cancel"] {
        let (status, answer) = post(&state, path, TOKEN, "").await;
        assert_eq!((status, &answer["@type"]), (StatusCode::CONFLICT, &json!("error")), "{path}: {answer}");
    }
    let (status, answer) = post(&state, "/repo/1/requests", TOKEN, r#"{"request": {"branch": "a b"}}"#).await;
    assert_eq!((status, &answer["error_type"]), (StatusCode::BAD_REQUEST, &json!("wrong_params")));
    // A token of nobody, and none.
    for path in ["/build/3/cancel", "/job/3/restart", "/repo/1/requests"] {
        let (status, answer) = post(&state, path, "guess", "x").await;
        assert_eq!((status, &answer["error_type"]), (StatusCode::UNAUTHORIZED, &json!("login_required")), "{path}");
    }
    let (_, build) = get(&state, "/build/3").await;
    assert!(build.contains(r#""state":"created""#), "{build}");
    let (status, answer) = post(&state, "/job/3/cancel", TOKEN, "").await;
    assert_eq!(
        (status, &answer["resource_type"], &answer["job"]["id"]),
        (StatusCode::ACCEPTED, &json!("job"), &json!(3))
    );
    assert_eq!(json_of(&state, "/build/3").await["state"], "canceled");
}

#[tokio::test]
async fn the_lint_reads_a_file_and_nothing_else() {
    let state = history().await;
    let state = web::State { access: access(&state.db, &format!("tokens = {{anna = '{TOKEN}'}}")), ..state };
    let lint = async |text: &str| {
        let (status, answer) = post(&state, "/lint", TOKEN, text).await;
        assert_eq!((status, &answer["@type"]), (StatusCode::OK, &json!("lint")), "{answer}");
        answer["warnings"].clone()
    };
    assert_eq!(lint("language: shell\nscript: 'true'\n").await, json!([]));
    let warnings = lint("language: shell\nscript: 'true'\nnotificatons: {email: false}\n").await;
    let message = warnings[0]["message"].as_str().unwrap();
    assert!(message.contains("`notificatons` is not known") && warnings[0]["line"] == 3, "{warnings}");
    assert!(!lint("a: [").await.as_array().unwrap().is_empty());
    // Imports are not looked up, and aliases do not grow.
    let imports = lint("import: acme/private:ci.yml@main\nlanguage: shell\nscript: 'true'\n").await.to_string();
    assert!(!imports.contains("token"), "{imports}");
    let grown: String = (1..30).map(|n| format!("a{n}: &a{n} [*a{m}, *a{m}]\n", m = n - 1)).collect();
    let grown = lint(&format!("a0: &a0 [x, x]\n{grown}")).await;
    assert!(!grown.as_array().unwrap().is_empty());
    let (status, _) = post(&state, "/lint", TOKEN, &"x".repeat(300 << 10)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
}
