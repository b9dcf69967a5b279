//! Jobs that do not end by themselves, or that cannot start.

use std::time::{Duration, Instant};

use crate::support::app::App;
use crate::support::docker;
use crate::support::github::Posted;
use crate::support::payload::{self, Delivery};

/// Runs a `.travis.yml`. Returns its last status and the log.
async fn run(app: &App, travis: &str) -> (Posted, String) {
    let repo = app.github.repo("acme/styles");
    repo.write(".travis.yml", travis);
    let sha = repo.commit("Try");
    Delivery::new("d-1", "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
    let end = app.github.wait_for_end(&sha, "trainyard/push").await;
    let log = String::from_utf8_lossy(&app.log(1).await).into_owned();
    docker::assert_no_containers(&app.db).await;
    (end, log)
}

async fn verdict(app: &App) -> String {
    sqlx::query_scalar("select verdict::text from job where id = 1").fetch_one(&app.db).await.unwrap()
}

#[tokio::test]
async fn a_job_that_runs_too_long_is_ended() {
    let app = App::start("limits = {time = '2s'}").await;
    let (end, log) = run(&app, "language: shell\nscript:\n  - while sleep 0.2; do echo tick; done\n").await;
    assert_eq!(verdict(&app).await, "timed_out");
    assert!(end.state == "failure" && end.description.contains("it ran longer than 2s"), "{end:?}");
    assert!(log.ends_with("The job exceeded the maximum time limit for jobs, and has been terminated.\n"), "{log}");
    app.stop().await;
}

#[tokio::test]
async fn a_job_that_says_nothing_for_too_long_is_ended_even_if_it_ignores_signals() {
    let app = App::start("limits = {silence = '2s'}").await;
    let (end, log) =
        run(&app, "language: shell\nscript:\n  - trap '' INT TERM; sleep 600 & sleep 600; sleep 600\n").await;
    assert_eq!(verdict(&app).await, "timed_out");
    assert!(end.description.contains("no output for 2s"), "{end:?}");
    assert!(log.contains("No output has been received in the last 2s, this potentially indicates a stalled"), "{log}");
    app.stop().await;
}

#[tokio::test]
async fn a_log_that_grows_too_long_ends_the_job() {
    let app = App::start("limits = {log = 100000}").await;
    let (end, log) = run(&app, "language: shell\nscript:\n  - yes this is a flood\n").await;
    assert_eq!((verdict(&app).await.as_str(), end.state.as_str()), ("errored", "error"));
    assert!(log.ends_with("The job exceeded the maximum log length, and has been terminated.\n"), "{}", &log[99_900..]);
    assert!(log.len() < 100_200, "{} bytes are stored", log.len());
    app.stop().await;
}

#[tokio::test]
async fn a_job_that_takes_too_much_memory_is_told_so() {
    let app = App::start("limits = {memory = '64 MiB'}").await;
    let (end, _) =
        run(&app, "language: shell\nscript:\n  - x=$(head -c 300000000 /dev/zero | tr '\\0' x); exit 1\n").await;
    assert!(end.description.contains("out of memory: the limit is 64"), "{end:?}");
    app.stop().await;
}

#[tokio::test]
async fn an_image_that_is_not_there_is_named() {
    let app = App::start("images = {python = 'trainyard/none:{version}'}").await;
    let begin = Instant::now();
    let (end, log) = run(&app, "language: python\npython: \"3.7\"\nscript:\n  - pytest\n").await;
    assert!(begin.elapsed() < Duration::from_secs(20));
    assert_eq!(end.state, "error");
    assert!(end.description.contains("Python 3.7, which this job asks for, has no image on this runner"), "{end:?}");
    assert!(log.contains("build or pull trainyard/none:3.7 there"), "{log}");
    app.stop().await;
}

#[tokio::test]
async fn a_canceled_job_stops_and_says_who_and_why() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    repo.write(".travis.yml", "language: shell\nscript:\n  - echo begun; sleep 600\n");
    let sha = repo.commit("Long");
    Delivery::new("d-1", "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
    while !docker::container_of(&app.db, 1).await.is_some_and(|_| true) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut connection = app.db.acquire().await.unwrap();
    let build = trainyard::domain::BuildId(1);
    trainyard::store::queue::cancel_build(&mut connection, build, "canceled by ada: not needed").await.unwrap();
    let asked = Instant::now();
    let end = app.github.wait_for_end(&sha, "trainyard/push").await;
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    assert!(end.state == "error" && end.description.contains("canceled by ada: not needed"), "{end:?}");
    let log = String::from_utf8(app.log(1).await).unwrap();
    assert!(log.contains("begun") && log.ends_with("Done: Job Cancelled\n\ncanceled by ada: not needed\n"), "{log}");
    docker::assert_no_containers(&app.db).await;
    app.stop().await;
}
