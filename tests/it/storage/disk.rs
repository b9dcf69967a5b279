//! A disk that fills: no job starts until there is room again. The data folder is a small separate file system, so
//! these tests need root.

use std::time::{Duration, Instant};

use crate::support::app::App;
use crate::support::github::GitHub;
use crate::support::mount::Mounted;
use crate::support::payload::{self, Delivery};

async fn alerts(app: &App) -> String {
    app.get("/readyz").await.1
}

/// Waits until `/readyz` reports a full disk, or none.
async fn wait_for(app: &App, is_full: bool) {
    let begin = Instant::now();
    while alerts(app).await.contains("storage.least_free") != is_full {
        assert!(begin.elapsed() < Duration::from_secs(30), "{}", alerts(app).await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_full_disk_begins_no_job_and_says_so_and_running_jobs_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let _disk = Mounted::new(&folder.path().join("data"), "size=64m");
    let github = GitHub::start(folder.path().join("github")).await;
    let app = App::start_in(folder, github, "[storage]\nleast_free = \"40 MiB\"\n").await;
    let repo = app.github.repo("acme/styles");
    repo.write(".travis.yml", "language: shell\nscript: for n in $(seq 100); do echo tick $n; sleep 0.1; done\n");
    let running = repo.commit("Long");
    Delivery::new("d-1", "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
    // Once its script prints, the job needs nothing more from the disk.
    let is_running = "select count(*) from job where state = 'running' and log_length > 0";
    while sqlx::query_scalar::<_, i64>(is_running).fetch_one(&app.db).await.unwrap() == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let filler = app.data().join("filler");
    std::fs::write(&filler, vec![1; 40 << 20]).unwrap();
    wait_for(&app, true).await;
    let (_, page) = app.get("/").await;
    assert!(
        page.contains("no job starts until there is room") && page.contains("less than 40.0 MiB are free"),
        "{page}"
    );

    repo.write(".travis.yml", "language: shell\nscript: echo short\n");
    let waiting = repo.commit("Short");
    Delivery::new("d-2", "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
    // The rest of the long job takes seconds: enough time for an intake to take the delivery.
    assert_eq!(app.github.wait_for_end(&running, "trainyard/push").await.state, "success");
    let jobs: i64 = sqlx::query_scalar("select count(*) from job").fetch_one(&app.db).await.unwrap();
    assert_eq!(jobs, 1, "the delivery waits, since its commit would be fetched");

    std::fs::remove_file(&filler).unwrap();
    assert_eq!(app.github.wait_for_end(&waiting, "trainyard/push").await.state, "success");
    wait_for(&app, false).await;
    app.stop().await;
}

#[tokio::test]
async fn the_disk_of_the_engine_counts_too() {
    let folder = tempfile::tempdir().unwrap();
    // It takes no more memory than its content.
    let _disk = Mounted::new(&folder.path().join("data"), "size=900t");
    let github = GitHub::start(folder.path().join("github")).await;
    let app = App::start_in(folder, github, "[storage]\nleast_free = \"800 TiB\"\n").await;
    wait_for(&app, true).await;
    let told = alerts(&app).await;
    assert!(told.contains("disk of runner local") && !told.contains("\"disk\""), "{told}");
    let repo = app.github.repo("acme/styles");
    repo.write(".travis.yml", "language: shell\nscript: echo short\n");
    repo.commit("Short");
    Delivery::new("d-1", "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
    // Two of the janitor's rounds, in which the worker would also have looked for a job.
    for _ in 0..2 {
        sqlx::query("delete from alert").execute(&app.db).await.unwrap();
        wait_for(&app, true).await;
    }
    let begun: i64 = sqlx::query_scalar("select count(*) from job where attempt > 0").fetch_one(&app.db).await.unwrap();
    assert_eq!(begun, 0);
    app.stop().await;
}

#[tokio::test]
async fn what_a_dead_process_was_putting_together_is_removed_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let left = folder.path().join("data/scratch/.tmpAbc123");
    std::fs::create_dir_all(left.join("checkout")).unwrap();
    std::fs::write(left.join("checkout/file"), "x").unwrap();
    let github = GitHub::start(folder.path().join("github")).await;
    let app = App::start_in(folder, github, "").await;
    let begin = Instant::now();
    while left.exists() {
        assert!(begin.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    app.stop().await;
}
