//! From a signed push to the status on its commit.

use std::time::Duration;

use crate::support::app::App;
use crate::support::docker;
use crate::support::payload::{self, Delivery};

const HELLO: &str = "language: shell\nscript:\n  - echo hello from the yard\n  - git log --format=%s -1\n";

#[tokio::test]
async fn a_good_push_ends_in_success_and_its_log_is_stored() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    repo.write(".travis.yml", HELLO);
    let sha = repo.commit("Say hello");
    let delivery = Delivery::new("d-1", "push", &payload::push(&app.github, &repo, "main"));
    let (code, answer) = delivery.post(&app.base).await;
    assert_eq!(code, 202, "{answer}");

    let end = app.github.wait_for_end(&sha, "trainyard/push").await;
    assert_eq!((end.state.as_str(), end.repo.as_str()), ("success", "acme/styles"), "{end:?}");
    assert!(end.target_url.ends_with("/acme/styles/builds/1"), "{}", end.target_url);
    let states = app.github.states(&sha, "trainyard/push");
    assert_eq!(states.last().map(String::as_str), Some("success"));
    assert!(states.iter().rev().skip(1).all(|state| state == "pending"), "{states:?}");
    let log = String::from_utf8(app.log(1).await).unwrap();
    assert!(log.contains("hello from the yard\n") && log.contains("Say hello\n"), "{log}");
    assert!(log.contains("Done. Your build exited with 0."), "{log}");
    app.stop().await;
}

#[tokio::test]
async fn a_failing_script_ends_in_failure_that_names_the_command() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    repo.write(".travis.yml", "language: shell\nscript:\n  - echo fine\n  - test -f missing.txt\n");
    let sha = repo.commit("Fail");
    Delivery::new("d-1", "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
    let end = app.github.wait_for(Duration::from_secs(60), |p| p.sha == sha && p.state == "failure").await;
    let log = String::from_utf8(app.log(1).await).unwrap();
    assert!(end.description.contains("\"test -f missing.txt\" exited with 1"), "{}\n{log:?}", end.description);
    app.stop().await;
}

#[tokio::test]
async fn with_fast_finish_a_job_that_may_fail_is_not_waited_for() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    let jobs = "jobs:\n  fast_finish: true\n  include:\n    - script: echo quick\n    - script: sleep 60\n      allow_failure: true\n";
    repo.write(".travis.yml", &format!("language: shell\n{jobs}"));
    let sha = repo.commit("Be quick");
    Delivery::new("d-1", "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
    assert_eq!(app.github.wait_for_end(&sha, "trainyard/push").await.state, "success");
    let unfinished: i64 =
        sqlx::query_scalar("select count(*) from job where state <> 'finished'").fetch_one(&app.db).await.unwrap();
    assert_eq!(unfinished, 1, "the other job goes on");
    let mut connection = app.db.acquire().await.unwrap();
    trainyard::store::queue::cancel_build(&mut connection, trainyard::domain::BuildId(1), "the test").await.unwrap();
    docker::assert_no_containers(&app.db).await;
    app.stop().await;
}
