//! Travis's API, as its clients ask for it.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use trainyard::domain::{JobKind, Verdict};
use trainyard::web;

use crate::support::database;
use crate::support::web::{build, claim, finish, job, push, repo, state, write};

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
