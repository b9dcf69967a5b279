//! Cancels over HTTP: authorization, effects and notifications.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::app::App;
use crate::support::docker;
use crate::support::payload::{self, Delivery};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// A job that ignores signals.
const STUBBORN: &str = "language: shell\nscript:\n  - trap '' INT TERM\n  - echo begun; while true; do sleep 1; done\n";

async fn post(app: &App, path: &str, token: Option<&str>) -> (u16, Value) {
    let mut request = reqwest::Client::new().post(format!("{}/api/v1/repos/acme/styles{path}", app.base));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// Starts a service with a build of two stubborn jobs, of which the first is running.
async fn with_running_jobs() -> (App, String) {
    with_running_jobs_in("", 2).await
}

async fn with_running_jobs_in(change: &str, jobs: u32) -> (App, String) {
    // Two jobs on one slot, with the default grace, since the time is what this tests.
    let more = format!(
        "{change}[auth]\ntokens = {{ anna = \"{TOKEN}\" }}\n[limits]\ngrace = \"3s\"\n[[runner]]\nname = \"local\"\nslots = 1\n"
    );
    let app = App::start(&more).await;
    let repo = app.github.repo("acme/styles");
    let env: Vec<String> = (1..=jobs).map(|job| format!("A={job}")).collect();
    repo.write(".travis.yml", &format!("{STUBBORN}env: [{}]\n", env.join(", ")));
    let sha = repo.commit("Go on");
    Delivery::new("d-1", "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let running: i64 =
            sqlx::query_scalar("select count(*) from job where state = 'running'").fetch_one(&app.db).await.unwrap();
        if running == 1 && String::from_utf8_lossy(&app.log(1).await).contains("\nbegun\n") {
            break;
        }
        assert!(Instant::now() < deadline, "the job does not begin");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    (app, sha)
}

#[tokio::test]
async fn a_build_is_canceled_by_whoever_has_a_token() {
    let (app, sha) = with_running_jobs().await;
    for (token, told) in [(None, "Authorization: Bearer"), (Some("wrong"), "not among those")] {
        let (code, answer) = post(&app, "/builds/1/cancel", token).await;
        assert!(code == 401 && answer["error"].as_str().unwrap().contains(told), "{code} {answer}");
    }
    let begin = Instant::now();
    assert_eq!(post(&app, "/builds/1/cancel", Some(TOKEN)).await, (200, json!({"canceled": 2})));
    let end = app.github.wait_for_end(&sha, "trainyard/push").await;
    assert_eq!((end.state.as_str(), end.description.as_str()), ("error", "canceled: job 1.1: canceled by anna"));
    docker::assert_no_containers(&app.db).await;
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(10), "the container was gone after {took:?}");
    let log = String::from_utf8(app.log(1).await).unwrap();
    assert!(log.contains("canceled by anna"), "{log}");
    let states: Vec<(String, String)> =
        sqlx::query_as("select verdict::text, reason from job order by id").fetch_all(&app.db).await.unwrap();
    let canceled = ("canceled".to_owned(), "canceled by anna".to_owned());
    assert_eq!(states, [canceled.clone(), canceled]);
    // Finished jobs stay as they are.
    assert_eq!(post(&app, "/builds/1/cancel", Some(TOKEN)).await, (200, json!({"canceled": 0})));
    assert_eq!(post(&app, "/builds/2/cancel", Some(TOKEN)).await.0, 404);
    app.stop().await;
}

#[tokio::test]
async fn one_job_is_canceled_and_the_others_go_on() {
    let (app, _) = with_running_jobs().await;
    assert_eq!(post(&app, "/builds/1/jobs/1/cancel", Some(TOKEN)).await, (200, json!({"canceled": 1})));
    let deadline = Instant::now() + Duration::from_secs(60);
    let states = || async {
        let query = "select state::text || coalesce(' ' || verdict::text, '') from job order by id";
        sqlx::query_scalar::<_, String>(query).fetch_all(&app.db).await.unwrap()
    };
    while states().await != ["finished canceled", "running"] {
        assert!(Instant::now() < deadline, "{:?}", states().await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(post(&app, "/builds/1/jobs/2/cancel", Some(TOKEN)).await, (200, json!({"canceled": 1})));
    while states().await != ["finished canceled", "finished canceled"] {
        assert!(Instant::now() < deadline, "{:?}", states().await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    docker::assert_no_containers(&app.db).await;
    app.stop().await;
}

#[tokio::test]
async fn a_stop_of_the_service_cancels_what_runs_if_the_operator_wants_that() {
    let (app, sha) = with_running_jobs_in("[server]\ncancel_on_stop = true\n", 1).await;
    let (db, github) = (app.db.clone(), app.github.clone());
    let begin = Instant::now();
    app.stop().await;
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(12), "the stop took {took:?}");
    docker::assert_no_containers(&db).await;
    let reason: String =
        sqlx::query_scalar("select reason from job where verdict = 'canceled'").fetch_one(&db).await.unwrap();
    assert!(reason.starts_with("canceled, since Trainyard was stopped on "), "{reason}");
    // GitHub got the status before the process ended.
    let last = github.posted().into_iter().rfind(|posted| posted.sha == sha && posted.context == "trainyard/push");
    assert_eq!(last.map(|last| last.state).as_deref(), Some("error"));
}
