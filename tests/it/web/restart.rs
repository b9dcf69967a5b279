//! Restarts over HTTP: authorization, effects, and what stays of the run before.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use sqlx::PgPool;
use tower::ServiceExt as _;
use trainyard::domain::{AttemptId, JobKind, Verdict};
use trainyard::store::output::artifacts::NewArtifact;
use trainyard::store::output::log_objects;
use trainyard::store::output::reports::Reports;
use trainyard::store::queue::{self, Finish};
use trainyard::web;

use crate::support::app::App;
use crate::support::docker;
use crate::support::payload::{self, Delivery};
use crate::support::web::{access, build, claim, finish, job, push, repo, state, write};
use crate::support::{database, github::Posted};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

async fn post(app: &App, path: &str, token: Option<&str>) -> (u16, Value) {
    let mut request = reqwest::Client::new().post(format!("{}/api/v1/repos/acme/styles{path}", app.base));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn wait_until(app: &App, what: &str, query: &'static str) {
    let deadline = Instant::now() + Duration::from_secs(90);
    while !sqlx::query_scalar::<_, bool>(query).fetch_one(&app.db).await.unwrap() {
        assert!(Instant::now() < deadline, "not yet: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_canceled_build_runs_again_from_its_first_stage() {
    let app = App::start(&format!("[auth]\ntokens = {{ anna = \"{TOKEN}\" }}\n")).await;
    let git = app.github.repo("acme/styles");
    git.write(
        ".travis.yml",
        "language: shell\njobs:\n  include:\n  - stage: one\n    script: [echo begun, sleep 3]\n  \
         - stage: two\n    script: cat greeting\n",
    );
    git.write("greeting", "hello from the commit\n");
    let sha = git.commit("Greet");
    Delivery::new("d-1", "push", &payload::push(&app.github, &git, "main")).post(&app.base).await;
    wait_until(&app, "the first job runs", "select exists (select from job where state = 'running')").await;
    let (code, refused) = post(&app, "/builds/1/restart", Some(TOKEN)).await;
    assert!(code == 409 && refused["error"].as_str().unwrap().starts_with("Job 1 has not ended."), "{refused}");
    assert_eq!(post(&app, "/builds/1/cancel", Some(TOKEN)).await.0, 200);
    assert_eq!(app.github.wait_for_end(&sha, "trainyard/push").await.state, "error");

    // The mirror is gone, so the commit is fetched again.
    std::fs::remove_dir_all(app.data().join("mirrors")).unwrap();
    for (token, told) in [(None, "Authorization: Bearer"), (Some("wrong"), "not among those")] {
        for path in ["/builds/1/restart", "/builds/1/jobs/2/restart"] {
            let (code, answer) = post(&app, path, token).await;
            assert!(code == 401 && answer["error"].as_str().unwrap().contains(told), "{code} {answer}");
        }
    }
    assert_eq!(post(&app, "/builds/1/restart", Some(TOKEN)).await, (200, json!({"restarted": 2})));
    let is_passed = "select state = 'passed' from build";
    wait_until(&app, "the build passes", is_passed).await;
    app.github.wait_for(Duration::from_secs(30), |posted| posted.sha == sha && posted.state == "success").await;
    let states: Vec<String> = app.github.posted().into_iter().map(|Posted { state, .. }| state).collect();
    let canceled = states.iter().position(|state| state == "error").unwrap();
    assert!(states[canceled..].contains(&"pending".to_owned()), "the status is pending again: {states:?}");
    let log = String::from_utf8(app.log(2).await).unwrap();
    assert!(log.contains("hello from the commit"), "{log}");

    let kept: Vec<(i64, Option<i32>, String, String)> = sqlx::query_as(
        "select job_id, attempt, verdict::text || ': ' || reason, requested_by from restart order by job_id",
    )
    .fetch_all(&app.db)
    .await
    .unwrap();
    let canceled = |job, attempt| (job, attempt, "canceled: canceled by anna".to_owned(), "anna".to_owned());
    assert_eq!(kept, [canceled(1, Some(1)), canceled(2, None)]);
    let (code, first) = app.get("/api/v1/jobs/1/log?attempt=1").await;
    assert!(code == 200 && first.contains("canceled by anna"), "{code} {first}");
    let attempts: Vec<i32> =
        sqlx::query_scalar("select attempt from job order by id").fetch_all(&app.db).await.unwrap();
    assert_eq!(attempts, [2, 1]);

    // One job alone: the other keeps its attempt.
    assert_eq!(post(&app, "/builds/1/jobs/2/restart", Some(TOKEN)).await, (200, json!({"restarted": 1})));
    wait_until(
        &app,
        "the second job runs again",
        "select build.state = 'passed' and attempt = 2 from build, job where job.id = 2",
    )
    .await;
    let attempts: Vec<i32> =
        sqlx::query_scalar("select attempt from job order by id").fetch_all(&app.db).await.unwrap();
    assert_eq!(attempts, [2, 2]);
    docker::assert_no_containers(&app.db).await;
    app.stop().await;
}

// --- without jobs that run ---

fn with_token(db: &PgPool) -> web::State {
    let access = access(db, &format!("tokens = {{ anna = {TOKEN:?} }}"));
    web::State { access, ..state(db) }
}

async fn ask(state: &web::State, method: &str, path: &str) -> (u16, String) {
    let request = Request::builder().method(method).uri(path).header("authorization", format!("Bearer {TOKEN}"));
    let response = web::router(state.clone()).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    (status, String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap())
}

const BUILD: &str = "/api/v1/repos/acme/lora-styles/builds/1";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_flood_of_restarts_restarts_once() {
    let state = with_token(&database::pool().await);
    let repo = repo(&state.db).await;
    build(&state.db, repo, &push("main"), &[job(JobKind::Script, None, "unit")], &[]).await;
    let first = claim(&state.db).await;
    finish(&state, &first, 0, Verdict::Failed, None).await;
    let mut asking = tokio::task::JoinSet::new();
    for n in 0..24 {
        let state = state.clone();
        let path = format!("{BUILD}{}/restart", if n % 2 == 0 { "" } else { "/jobs/1" });
        asking.spawn(async move { ask(&state, "POST", &path).await.0 });
    }
    let mut codes = asking.join_all().await;
    codes.sort_unstable();
    assert_eq!((codes[0], codes[1..].iter().all(|code| *code == 409)), (200, true), "{codes:?}");
    let rows: i64 = sqlx::query_scalar("select count(*) from restart").fetch_one(&state.db).await.unwrap();
    assert_eq!(rows, 1);

    // There is an end to it, too.
    sqlx::raw_sql(
        "insert into restart (job_id, requested_by, verdict, finished_at, log_length)
        select 1, 'anna', 'failed', now(), 0 from generate_series(2, 100)",
    )
    .execute(&state.db)
    .await
    .unwrap();
    let second = claim(&state.db).await;
    finish(&state, &second, 0, Verdict::Failed, None).await;
    let (code, answer) = ask(&state, "POST", &format!("{BUILD}/restart")).await;
    assert!(code == 409 && answer.contains("100 times"), "{code} {answer}");
}

#[tokio::test]
async fn stages_keep_their_order() {
    let state = with_token(&database::pool().await);
    let repo = repo(&state.db).await;
    let jobs = [job(JobKind::Script, Some("test"), "unit"), job(JobKind::Script, Some("deploy"), "upload")];
    build(&state.db, repo, &push("main"), &jobs, &[]).await;
    let unit = claim(&state.db).await;
    finish(&state, &unit, 0, Verdict::Failed, None).await;
    // What did not begin since the tests failed does not begin by a restart of its own.
    let (code, answer) = ask(&state, "POST", &format!("{BUILD}/jobs/2/restart")).await;
    assert!(code == 409 && answer.contains("Job 1 of an earlier stage has not passed"), "{code} {answer}");
    assert_eq!(ask(&state, "POST", &format!("{BUILD}/jobs/1/restart")).await.0, 200);
    // Now it waits for the tests.
    assert_eq!(ask(&state, "POST", &format!("{BUILD}/jobs/2/restart")).await.0, 200);
    let states = async || -> Vec<String> {
        sqlx::query_scalar("select state::text from job order by id").fetch_all(&state.db).await.unwrap()
    };
    assert_eq!(states().await, ["queued", "waiting"]);
    let unit = claim(&state.db).await;
    finish(&state, &unit, 0, Verdict::Passed, None).await;
    let upload = claim(&state.db).await;
    let (code, answer) = ask(&state, "POST", &format!("{BUILD}/jobs/1/restart")).await;
    assert!(code == 409 && answer.contains("Job 2 of a later stage has begun"), "{code} {answer}");
    finish(&state, &upload, 0, Verdict::Passed, None).await;
    let build: String = sqlx::query_scalar("select state::text from build").fetch_one(&state.db).await.unwrap();
    assert_eq!(build, "passed");
}

#[tokio::test]
async fn the_page_shows_the_new_run_and_links_to_the_earlier_one() {
    let state = with_token(&database::pool().await);
    let repo = repo(&state.db).await;
    build(&state.db, repo, &push("main"), &[job(JobKind::Script, None, "unit")], &[]).await;
    let first = claim(&state.db).await;
    write(&state, &first, 0, "the first try\n").await;
    let artifact = |key: &str| NewArtifact { path: "out.bin".into(), key: key.into(), size: 3, sha256: [1; 32] };
    let end = |artifact| Finish {
        verdict: Verdict::Failed,
        exit_status: Some(1),
        reason: Some("it <b>broke"),
        tail: b"",
        offset: 14,
        reports: Reports { artifacts: vec![artifact], ..Reports::default() },
    };
    assert!(queue::finish(&state.db, first.attempt_id(), &end(artifact("a/1"))).await.unwrap());
    let page = "/acme/lora-styles/builds/1/jobs/1";
    assert!(
        ask(&state, "GET", page)
            .await
            .1
            .contains("data-restart=\"/api/v1/repos/acme/lora-styles/builds/1/jobs/1/restart\"")
    );
    assert_eq!(ask(&state, "POST", &format!("{BUILD}/jobs/1/restart")).await.0, 200);
    let (_, html) = ask(&state, "GET", page).await;
    assert!(!html.contains("the first try") && !html.contains("data-restart"), "{html}");
    assert!(
        html.contains("in attempt 1 on host/local") && html.contains("it &#60;b&#62;broke. Restarted by anna"),
        "{html}"
    );
    assert!(!html.contains("out.bin"), "the artifacts are those of the new run");
    let (_, list) = ask(&state, "GET", "/api/v1/jobs/1/artifacts?attempt=1").await;
    assert!(list.contains("/api/v1/jobs/1/artifacts/out.bin?attempt=1"), "{list}");
    assert_eq!(ask(&state, "GET", "/api/v1/jobs/1/log?attempt=1").await, (200, "the first try\n".to_owned()));
    // The second run leaves a file of the same name, and reports of the same kinds.
    let second = claim(&state.db).await;
    assert_eq!(second.attempt, 2);
    write(&state, &second, 0, "the second try\n").await;
    let end = Finish { offset: 15, verdict: Verdict::Passed, reason: None, ..end(artifact("a/2")) };
    assert!(queue::finish(&state.db, second.attempt_id(), &end).await.unwrap());
    let (_, html) = ask(&state, "GET", page).await;
    assert!(html.contains("the second try") && html.contains("out.bin"), "{html}");
    assert_eq!(ask(&state, "GET", "/api/v1/jobs/1/log?attempt=1").await.1, "the first try\n");
}

#[tokio::test]
async fn a_log_that_is_moved_during_a_restart_takes_no_other_with_it() {
    let state = with_token(&database::pool().await);
    let repo = repo(&state.db).await;
    build(&state.db, repo, &push("main"), &[job(JobKind::Script, None, "unit")], &[]).await;
    let first = claim(&state.db).await;
    write(&state, &first, 0, "one\n").await;
    finish(&state, &first, 4, Verdict::Failed, None).await;
    let mut to_move = log_objects::begin(&state.db, first.id).await.unwrap().expect("it is due");
    assert_eq!(ask(&state, "POST", &format!("{BUILD}/restart")).await.0, 200);
    let second = claim(&state.db).await;
    write(&state, &second, 0, "other\n").await;
    finish(&state, &second, 6, Verdict::Passed, None).await;
    assert_eq!((to_move.attempts.as_slice(), to_move.last), (&[(1, 4)][..], 1));
    log_objects::all_moved(&mut to_move.tx, first.id, to_move.last).await.unwrap();
    to_move.tx.commit().await.unwrap();
    let due = log_objects::begin(&state.db, first.id).await.unwrap().expect("the second log is still to be moved");
    assert!(due.attempts.contains(&(2, 6)), "{:?}", due.attempts);
    drop(due);
    let attempt = AttemptId { job: first.id, number: 2 };
    assert_eq!(state.logs.read(attempt, 0, 100).await.unwrap().bytes, b"other\n");
}
