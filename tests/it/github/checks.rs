//! Check runs: one for a build, with every problem on its line, whatever is lost on the way.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::openapi;
use crate::support::app::App;
use crate::support::git_host::Repo;
use crate::support::github::GitHub;
use crate::support::payload::{self, Delivery};

/// Number of keys that Travis does not know, each of which is a problem.
const PROBLEMS: usize = 70;

async fn start() -> App {
    let folder = tempfile::tempdir().unwrap();
    let github = GitHub::start(folder.path().join("github")).await;
    let settings = format!("{}checks = true\n", github.app_settings());
    App::start_in(folder, github, &settings).await
}

/// Pushes a commit with many problems. Returns the commit once its build has ended.
async fn push(app: &App, repo: &Repo) -> String {
    let unknown: Vec<String> = (0..PROBLEMS).map(|number| format!("unknown_{number}: '@all'\n")).collect();
    repo.write(".travis.yml", &format!("language: shell\nscript: echo hello\n{}", unknown.concat()));
    let sha = repo.commit("Hello");
    Delivery::new("d", "push", &payload::push(&app.github, repo, "main")).post(&app.base).await;
    app.github.wait_for_end(&sha, "trainyard/push").await;
    sha
}

/// Waits until no wish is owed.
async fn settle(app: &App) {
    let begin = Instant::now();
    let owed = "select count(*) from wish where sent_seq < wanted_seq and given_up_seq < wanted_seq";
    while sqlx::query_scalar::<_, i64>(owed).fetch_one(&app.db).await.unwrap() > 0 {
        assert!(begin.elapsed() < Duration::from_secs(60), "a wish is still owed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn lines(run: &Value) -> Vec<u64> {
    let all = run["annotations"].as_array().unwrap().iter();
    let mut lines: Vec<u64> = all.map(|it| it["start_line"].as_u64().unwrap()).collect();
    lines.sort_unstable();
    lines
}

#[tokio::test]
async fn a_build_has_one_check_run_with_every_problem_on_its_line() {
    let app = start().await;
    let repo = app.github.repo("acme/styles");
    app.github.app.install(&["acme/styles"]);
    let sha = push(&app, &repo).await;
    settle(&app).await;
    let runs = app.github.checks.runs();
    assert_eq!(runs.len(), 1, "{runs:#?}");
    let run = &runs[0];
    assert_eq!(
        (&run["head_sha"], &run["status"], &run["conclusion"]),
        (&sha.into(), &"completed".into(), &"success".into())
    );
    assert_eq!(lines(run), (3..3 + PROBLEMS as u64).collect::<Vec<_>>());
    let summary = run["output"]["summary"].as_str().unwrap();
    assert!(summary.contains("### Problems") && summary.contains("| 1.1 | passed |"), "{summary}");
    // Nothing in a block of code is a mention.
    assert_eq!(summary.matches("```\nunknown_").count(), 10, "{summary}");
    assert!(summary.split("```").step_by(2).all(|outside| !outside.contains('@')), "{summary}");
    let api = openapi::description();
    for (method, path, body) in app.github.checks.requests() {
        assert_eq!(openapi::faults(&api, &method, &path, &body), Vec::<String>::new(), "{method} {path} {body}");
    }
    app.stop().await;
}

#[tokio::test]
async fn a_crash_after_a_request_makes_no_second_check_run_and_repeats_no_annotation() {
    let app = start().await;
    let repo = app.github.repo("acme/styles");
    app.github.app.install(&["acme/styles"]);
    push(&app, &repo).await;
    settle(&app).await;
    // As if the process had died before it recorded GitHub's answers.
    sqlx::query("update wish set shown_id = null, sent_seq = 0 where kind = 'check_run'")
        .execute(&app.db)
        .await
        .unwrap();
    settle(&app).await;
    let runs = app.github.checks.runs();
    assert_eq!((runs.len(), lines(&runs[0]).len()), (1, PROBLEMS));
    app.stop().await;
}

#[tokio::test]
async fn an_app_that_may_not_write_checks_still_sets_statuses() {
    let app = start().await;
    let repo = app.github.repo("acme/styles");
    app.github.app.install(&["acme/styles"]);
    app.github.app.permit(&[("metadata", "read"), ("contents", "read"), ("statuses", "write")]);
    push(&app, &repo).await;
    settle(&app).await;
    assert!(app.github.checks.requests().is_empty(), "there is no token for them");
    let error: String =
        sqlx::query_scalar("select last_error from wish where kind = 'check_run'").fetch_one(&app.db).await.unwrap();
    assert!(error.contains("checks: write"), "{error}");
    app.stop().await;
}

#[tokio::test]
async fn the_personal_token_writes_no_check_run() {
    let app = App::start("[github]\nchecks = true\n").await;
    let repo = app.github.repo("acme/styles");
    push(&app, &repo).await;
    settle(&app).await;
    assert!(app.github.checks.requests().is_empty());
    app.stop().await;
}
