//! `trainyard repo delete`: a repository goes whole, or not at all.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use trainyard::store::output::retention;

use crate::support::app::App;
use crate::support::payload::{self, Delivery};

const PROGRAM: &str = env!("CARGO_BIN_EXE_trainyard");

/// Runs `trainyard repo delete` with these arguments, without a terminal.
fn delete(folder: &Path, arguments: &[&str]) -> Output {
    let config = folder.join("config.toml");
    Command::new(PROGRAM).args(["repo", "delete", "--config"]).arg(config).args(arguments).output().unwrap()
}

async fn deleted(app: &App, arguments: &'static [&'static str]) -> (Option<i32>, String) {
    let folder = app.folder.path().to_owned();
    let output = tokio::task::spawn_blocking(move || delete(&folder, arguments)).await.unwrap();
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).join("");
    (output.status.code(), said)
}

/// Lists the files below a folder whose names no other folder has, such as objects and mirrors.
fn files(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries.flatten().map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { 1 }).sum()
}

#[tokio::test]
async fn a_repository_goes_with_everything_and_another_one_stays() {
    let app = App::start("").await;
    let mut repos = Vec::new();
    for (name, delivery) in [("acme/styles", "d-1"), ("acme/other", "d-2")] {
        let repo = app.github.repo(name);
        repo.write(
            ".travis.yml",
            "language: shell\naddons: {artifacts: {paths: [w.bin]}}\ncache: {directories: [kept]}\n\
             script: mkdir -p kept; echo x > kept/x; echo w > w.bin\n",
        );
        let sha = repo.commit("Begin");
        Delivery::new(delivery, "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
        app.github.wait_for_end(&sha, "trainyard/push").await;
        assert_eq!(app.get(&format!("/api/v1/repos/{name}/key")).await.0, 200);
        repos.push(repo);
    }
    let data = app.data();
    let kept = ["objects", "caches", "mirrors/acme/styles.git", "mirrors/acme/other.git"];
    let before = kept.map(|part| files(&data.join(part)));
    assert!(before.iter().all(|files| *files > 0), "{before:?}");

    let (status, said) = deleted(&app, &["acme/nothing", "--yes"]).await;
    assert!(status == Some(2) && said.contains("there is no repository acme/nothing"), "{said}");
    let (status, said) = deleted(&app, &["acme/styles"]).await;
    assert!(status == Some(1) && said.contains("add --yes"), "{said}");
    assert_eq!(app.get("/acme/styles").await.0, 200);

    let (status, said) = deleted(&app, &["Acme/styles", "--yes"]).await;
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("builds: 1, with jobs: 1, unfinished: 0\n  stored logs and artifacts: 1 (2 B)"), "{said}");
    assert_eq!(app.get("/acme/styles").await.0, 404);
    assert_eq!(app.get("/acme/other").await.0, 200);
    let after = kept.map(|part| files(&data.join(part)));
    assert_eq!(after, [before[0] / 2, before[1] / 2, 0, before[3]]);
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "select 'repo', count(*) from repo union all select 'key', count(*) from repo_key
         union all select 'build', count(*) from build union all select 'job', count(*) from job
         union all select 'wish', count(*) from wish union all select 'artifact', count(*) from artifact
         union all select 'chunk', count(distinct job_id) from log_chunk
         union all select 'delivery with a body', count(*) from delivery where length(body) > 0",
    )
    .fetch_all(&app.db)
    .await
    .unwrap();
    assert!(rows.iter().all(|(_, count)| *count == 1), "{rows:?}");
    // A redelivery does not bring it back.
    Delivery::new("d-1", "push", &payload::push(&app.github, &repos[0], "main")).post(&app.base).await;
    assert_eq!(app.get("/acme/styles").await.0, 404);
    app.stop().await;
}

#[tokio::test]
async fn a_repository_with_a_running_job_stays_unless_the_job_is_canceled() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    repo.write(".travis.yml", "language: shell\nscript: sleep 600\n");
    repo.commit("Begin");
    Delivery::new("d-1", "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
    let begin = Instant::now();
    let runs = "select exists (select from job where state = 'running')";
    while !sqlx::query_scalar::<_, bool>(runs).fetch_one(&app.db).await.unwrap() {
        assert!(begin.elapsed() < Duration::from_secs(60), "the job does not begin");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (status, said) = deleted(&app, &["acme/styles", "--yes"]).await;
    assert!(status == Some(1) && said.contains("has unfinished jobs (1)"), "{said}");
    assert_eq!(app.get("/acme/styles").await.0, 200);
    // While a backup holds the objects, the job goes on.
    let mut backup = app.db.acquire().await.unwrap();
    retention::hold_objects(&mut backup).await.unwrap();
    let (status, said) = deleted(&app, &["acme/styles", "--yes", "--cancel"]).await;
    assert!(status == Some(1) && said.contains("a backup or the archiver holds the objects"), "{said}");
    assert!(sqlx::query_scalar::<_, bool>(runs).fetch_one(&app.db).await.unwrap());
    backup.close().await.unwrap();
    let (status, said) = deleted(&app, &["acme/styles", "--yes", "--cancel"]).await;
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(app.get("/acme/styles").await.0, 404);
    app.stop().await;
}

#[tokio::test]
async fn the_last_statuses_of_a_repository_are_sent_before_it_goes() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    repo.write(".travis.yml", "language: shell\nscript: true\n");
    let sha = repo.commit("Begin");
    Delivery::new("d-1", "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
    app.github.wait_for_end(&sha, "trainyard/push").await;
    // GitHub did not take the last status, which is tried again in a while.
    sqlx::query(
        "update wish set description = 'the last one', wanted_seq = wanted_seq + 1, tried_seq = wanted_seq + 1,
             tries = 1, not_before = now() + interval '3 seconds'",
    )
    .execute(&app.db)
    .await
    .unwrap();
    let (status, said) = deleted(&app, &["acme/styles", "--yes"]).await;
    assert_eq!(status, Some(0), "{said}");
    assert!(!said.contains("were not sent"), "{said}");
    app.github.wait_for(Duration::from_secs(1), |post| post.description == "the last one").await;
    app.stop().await;
}
