//! Jobs that go on while Postgres is away for longer than their limits and leases.

use std::time::Duration;

use crate::support::app::App;
use crate::support::database::{self, Passage, Way};
use crate::support::docker;
use crate::support::github::GitHub;
use crate::support::payload::{self, Delivery};

/// Number of lines that the job prints, one in a tenth of a second.
const LINES: usize = 150;
/// Line at which Postgres goes away, and line at which it comes back: longer than a lease, and than the silence.
const AWAY: std::ops::Range<usize> = 10..100;

/// Waits until Docker has this number of the container's lines, as nothing else sees them meanwhile.
async fn wait_for_line(container: &str, line: usize) {
    for _ in 0..600 {
        let output = std::process::Command::new("docker").args(["logs", container]).output().unwrap();
        if String::from_utf8_lossy(&output.stdout).contains(&format!("line {line}.")) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the job does not come to line {line}");
}

/// Runs a job that prints lines while the way to Postgres is in this state, and checks that it passes.
async fn outlives(passage: Passage) {
    let folder = tempfile::tempdir().unwrap();
    let github = GitHub::start(folder.path().join("github")).await;
    let url = database::url().await;
    let way = Way::to(&url).await;
    let app = App::start_on(folder, github, &url, &way.url, "limits = {silence = '3s'}").await;
    let repo = app.github.repo("acme/styles");
    let counting = format!("for i in $(seq 1 {LINES}); do echo \"line $i.\"; sleep 0.1; done");
    repo.write(".travis.yml", &format!("language: shell\nscript:\n  - {counting}\n"));
    let sha = repo.commit("Count");
    Delivery::new("d-1", "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
    app.github.wait_for(Duration::from_secs(60), |posted| posted.description.starts_with("running")).await;
    let container = loop {
        match docker::container_of(&app.db, 1).await {
            Some(container) => break container,
            None => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    wait_for_line(&container, AWAY.start).await;
    way.set(passage);
    wait_for_line(&container, AWAY.end).await;
    way.set(Passage::Open);

    let end = app.github.wait_for_end(&sha, "trainyard/push").await;
    assert_eq!(end.state, "success", "{end:?}");
    let attempts: i32 = sqlx::query_scalar("select attempt from job where id = 1").fetch_one(&app.db).await.unwrap();
    assert_eq!(attempts, 1, "another attempt got the job");
    let log = String::from_utf8(app.log(1).await).unwrap();
    for line in 1..=LINES {
        assert_eq!(log.matches(&format!("line {line}.")).count(), 1, "line {line} in {log}");
    }
    docker::assert_no_containers(&app.db).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_outlives_a_postgres_that_is_down() {
    outlives(Passage::Closed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_outlives_a_postgres_that_does_not_answer() {
    outlives(Passage::Silent).await;
}
