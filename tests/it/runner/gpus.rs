//! GPUs from the push to the container and back, on a separate engine.

use std::time::Duration;
use trainyard::domain::AttemptId;

use sqlx::PgPool;

use crate::support::app::{App, configuration, merged};
use crate::support::database;
use crate::support::engine::gpu::GpuEngine;
use crate::support::github::GitHub;
use crate::support::payload::{self, Delivery};
use crate::support::service::Service;

const PROGRAM: &str = env!("CARGO_BIN_EXE_trainyard");

/// Pushes a `.travis.yml` to a new repository. Returns the commit.
async fn push(github: &GitHub, base: &str, name: &str, travis: &str) -> String {
    let repo = github.repo(name);
    repo.write(".travis.yml", travis);
    let sha = repo.commit("Train");
    Delivery::new(name, "push", &payload::push(github, &repo, "main")).post(base).await;
    sha
}

fn wants(size: &str, script: &str) -> String {
    format!("language: shell\nvm: {{size: {size}}}\ngit: {{clone: false}}\nscript:\n  - {script}\n")
}

async fn until(db: &PgPool, what: &str, condition: &'static str) {
    for _ in 0..400 {
        let holds: Option<bool> = sqlx::query_scalar(condition).fetch_one(db).await.unwrap();
        if holds == Some(true) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{what}: this does not come true: {condition}");
}

async fn log(db: &PgPool, job: i64) -> String {
    let (job, attempt): (trainyard::domain::JobId, i32) =
        sqlx::query_as("select id, attempt from job where id = $1").bind(job).fetch_one(db).await.unwrap();
    let bytes = trainyard::store::output::logs::read(db, AttemptId { job, number: attempt }, 0, usize::MAX)
        .await
        .unwrap()
        .bytes;
    String::from_utf8_lossy(&bytes).into_owned()
}

const SEES: &str = "echo \"sees $NVIDIA_VISIBLE_DEVICES\"";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_get_gpus_of_their_own_and_keep_them_over_kill_9() {
    let engine = GpuEngine::start();
    engine.has(&[("GPU-1", 4), ("GPU-2", 4)], &[]);
    let folder = tempfile::tempdir().unwrap();
    let github = GitHub::start(folder.path().join("github")).await;
    let (url, config) = (database::url().await, folder.path().join("config.toml"));
    let text = configuration(&folder.path().join("data"), Some(&url), &github);
    std::fs::write(&config, merged(&text, &engine.configuration())).unwrap();
    let service = Service::start(PROGRAM.as_ref(), &config);
    let db = PgPool::connect(&url).await.unwrap();

    let long = format!("{SEES}; for i in $(seq 60); do sleep 0.2; [ -e /tmp/end ] && break; done");
    let one = push(&github, &service.base, "acme/one", &wants("gpu-medium", &long)).await;
    until(&db, "the first job begins", "select log_length > 0 from job where id = 1 union all select false limit 1")
        .await;
    let container = engine.docker(&["ps", "--quiet", "--no-trunc"]);
    let asked = engine.docker(&["inspect", "--format", "{{json .HostConfig.DeviceRequests}}", &container]);
    let asked: serde_json::Value = serde_json::from_str(&asked).unwrap();
    assert_eq!(
        asked,
        serde_json::json!([{
            "Driver": "nvidia", "Count": 0, "DeviceIDs": ["GPU-1"], "Capabilities": [["gpu"]], "Options": null
        }])
    );

    // Another job requests both, so it waits; a job that needs none does not.
    let both = push(&github, &service.base, "acme/both", &wants("gpu-xlarge", SEES)).await;
    let waits = |posted: &crate::support::github::Posted| {
        posted.sha == both && posted.description.contains("1.1 waiting for GPU: held by acme/one #1.1 since 20")
    };
    github.wait_for(Duration::from_secs(20), waits).await;
    let plain = push(&github, &service.base, "acme/plain", &wants("medium", SEES)).await;
    assert_eq!(github.wait_for_end(&plain, "trainyard/push").await.state, "success");
    assert!(log(&db, 3).await.contains("sees void\n"), "{}", log(&db, 3).await);
    let page = reqwest::get(format!("{}/runners", service.base)).await.unwrap().text().await.unwrap();
    assert!(page.contains("<a href=\"/acme/one/builds/1/jobs/1\">acme/one #1.1</a>"), "{page}");
    let page = reqwest::get(format!("{}/acme/both/builds/1/jobs/1", service.base)).await.unwrap().text().await.unwrap();
    assert!(page.contains("waiting for GPU: held by acme/one #1.1 since"), "{page}");

    service.kill();
    let service = Service::start(PROGRAM.as_ref(), &config);
    tokio::time::sleep(Duration::from_secs(3)).await;
    until(
        &db,
        "the lease outlives the process",
        "select count(*) = 1 from gpu join job on job.id = job_id where uuid = 'GPU-1' and gpu.state = 'held'
             and gpu.attempt = 1 and job.attempt = 1 and job.state = 'running' and job.id = 1",
    )
    .await;
    assert_eq!(engine.docker(&["ps", "--quiet", "--no-trunc"]), container, "the same container goes on");
    engine.docker(&["exec", &container, "touch", "/tmp/end"]);
    assert_eq!(github.wait_for_end(&one, "trainyard/push").await.state, "success", "{}", service.said());
    assert_eq!(github.wait_for_end(&both, "trainyard/push").await.state, "success", "{}", service.said());
    assert!(log(&db, 1).await.contains("sees GPU-1\n"));
    assert!(log(&db, 2).await.contains("sees GPU-1,GPU-2\n"), "{}", log(&db, 2).await);
    until(&db, "both are free again", "select count(*) = 2 from gpu where state = 'free' and job_id is null").await;
    assert_eq!(engine.docker(&["ps", "--all", "--quiet"]), "");
    assert_eq!(service.interrupt(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gpu_that_is_not_empty_is_kept_from_jobs_and_says_why() {
    let engine = GpuEngine::start();
    engine.has(&[("GPU-1", 4)], &["GPU-1, 4242"]);
    let app = App::start(&engine.configuration()).await;
    let script = format!("{SEES}; for i in $(seq 100); do sleep 0.2; [ -e /tmp/end ] && break; done");
    let sha = push(&app.github, &app.base, "acme/styles", &wants("gpu-medium", &script)).await;
    let reason = "1.1 waiting for GPU: GPU-1 is quarantined: a process that belongs to no job uses it: 4242";
    app.github.wait_for(Duration::from_secs(20), |posted| posted.description.contains(reason)).await;
    engine.has(&[("GPU-1", 4)], &[]);
    until(&app.db, "it begins by itself", "select log_length > 0 from job where id = 1").await;
    // The job leaves used memory behind.
    engine.has(&[("GPU-1", 9000)], &[]);
    let container = engine.docker(&["ps", "--quiet", "--no-trunc"]);
    engine.docker(&["exec", &container, "touch", "/tmp/end"]);
    assert_eq!(app.github.wait_for_end(&sha, "trainyard/push").await.state, "success");
    let words = "9 GiB of its memory are in use, but not by a job";
    until(
        &app.db,
        "it is quarantined",
        "select reason like '9 GiB of its memory%' from gpu where state = 'quarantined'",
    )
    .await;
    assert!(app.get("/runners").await.1.contains(words));
    engine.fails(Some(9));
    until(
        &app.db,
        "the trouble shows",
        "select exists (select from alert where component = 'GPUs of runner gpu-host')",
    )
    .await;
    assert!(app.get("/").await.1.contains("the NVIDIA driver is not loaded (exit status 9)"));
    engine.fails(None);
    engine.has(&[("GPU-1", 4)], &[]);
    until(&app.db, "it is free again", "select state = 'free' from gpu").await;
    until(&app.db, "the trouble is over", "select not exists (select from alert)").await;
    app.stop().await;
}

#[tokio::test]
async fn a_fork_that_asks_for_a_gpu_is_told_why_it_gets_none() {
    let app = App::start("runner = [{gpus = 'none'}]").await;
    let repo = app.github.repo("acme/styles");
    repo.write("README.md", "Styles");
    let base = repo.commit("Start");
    repo.git(&["checkout", "-q", "-b", "watercolour"]);
    repo.write(".travis.yml", &wants("gpu-medium", SEES));
    let head = repo.commit("Mine");
    repo.git(&["checkout", "-q", "main"]);
    repo.open_pull_request(5, &base, &head);
    let opened = payload::pull_request(&app.github, &repo, 5, &base, &head);
    Delivery::new("fork", "pull_request", &opened).post(&app.base).await;
    let end = app.github.wait_for_end(&head, "trainyard/pr").await;
    let words = "vm: size: gpu-medium asks for a GPU, but this server provides none for pull requests from forks";
    assert!(end.state == "error" && end.description.contains(words), "{end:?}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_preemptible_job_is_stopped_for_one_that_waits_and_begins_again() {
    let engine = GpuEngine::start();
    engine.has(&[("GPU-1", 4)], &[]);
    // One slot: a job that waits for the GPU also waits for the slot.
    let app = App::start(&engine.configuration().replace("slots = 3", "slots = 1")).await;
    let train = format!("preemptible: true\n{}", wants("gpu-medium", "echo begun; sleep 60"));
    let patient = push(&app.github, &app.base, "acme/train", &train).await;
    until(&app.db, "the preemptible job begins", "select exists (select from job where id = 1 and log_length > 0)")
        .await;
    let short = push(&app.github, &app.base, "acme/short", &wants("gpu-medium", SEES)).await;
    assert_eq!(app.github.wait_for_end(&short, "trainyard/push").await.state, "success");
    until(&app.db, "it begins again", "select attempt = 2 and log_length > 0 from job where id = 1").await;
    let reason: String =
        sqlx::query_scalar("select reason from lost_attempt where job_id = 1").fetch_one(&app.db).await.unwrap();
    assert_eq!(reason, "it gives its GPUs to acme/short #1.1, which waits for them");
    let job = trainyard::domain::JobId(1);
    let first =
        trainyard::store::output::logs::read(&app.db, AttemptId { job, number: 1 }, 0, usize::MAX).await.unwrap().bytes;
    assert!(String::from_utf8_lossy(&first).contains("It begins again when there are GPUs for it."));
    let pending = app.github.states(&patient, "trainyard/push");
    assert!(pending.iter().all(|state| state == "pending"), "it has no verdict: {pending:?}");
    sqlx::query("update job set cancel_requested = true where id = 1").execute(&app.db).await.unwrap();
    app.github.wait_for_end(&patient, "trainyard/push").await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_gpus_do_nothing_is_stopped() {
    let engine = GpuEngine::start();
    engine.has(&[("GPU-1", 4)], &[]);
    engine.does_nothing("GPU-1");
    let limits = "limits = {network = 'none', gpu_idle = '5s'}";
    let app = App::start(&engine.configuration().replace("limits = {network = 'none'}", limits)).await;
    let sha = push(&app.github, &app.base, "acme/train", &wants("gpu-medium", "sleep 100")).await;
    let end = app.github.wait_for_end(&sha, "trainyard/push").await;
    assert_eq!(end.state, "failure", "{end:?}");
    assert!(end.description.contains("its GPUs did nothing for 5s (limits.gpu_idle)"), "{end:?}");
    let (verdict, stop): (String, String) =
        sqlx::query_as("select verdict::text, stop::text from job where id = 1").fetch_one(&app.db).await.unwrap();
    assert_eq!((verdict.as_str(), stop.as_str()), ("timed_out", "gpu_idle"));
    let log = String::from_utf8(app.log(1).await).unwrap();
    assert!(log.contains("The job's GPUs have done nothing for 5s"), "{log}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_jobs_gpus_did_is_kept_and_shown() {
    let engine = GpuEngine::start();
    engine.has(&[("GPU-1", 300), ("GPU-2", 200)], &[]);
    let app = App::start(&engine.configuration()).await;
    let sha = push(&app.github, &app.base, "acme/train", &wants("gpu-xlarge", "sleep 3")).await;
    assert_eq!(app.github.wait_for_end(&sha, "trainyard/push").await.state, "success");
    let told: serde_json::Value = serde_json::from_str(&app.get("/api/v1/jobs/1/resources").await.1).unwrap();
    assert_eq!(told["used"]["gpu_memory_peak"], 500 << 20, "{told}");
    let busy = &told["series"]["gpu"];
    assert_eq!(busy["unit"], "GPUs", "{told}");
    assert!(busy["values"].as_array().unwrap().iter().all(|busy| busy == 1.0), "{busy}");
    let (_, page) = app.get("/acme/train/builds/1/jobs/1").await;
    assert!(page.contains("Chart of GPU memory by time") && page.contains("Chart of GPUs by time"), "{page}");
    app.stop().await;
}
