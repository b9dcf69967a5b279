//! Records of the resources that a job uses, and messages that name the one it lacked.

use serde_json::Value;

use crate::support::app::App;
use crate::support::docker;
use crate::support::github::Posted;
use crate::support::payload::{self, Delivery};

/// Runs a `.travis.yml`. Returns its last status.
async fn run(app: &App, travis: &str) -> Posted {
    let repo = app.github.repo("acme/styles");
    repo.write(".travis.yml", travis);
    let sha = repo.commit("Try");
    Delivery::new("d-1", "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
    let end = app.github.wait_for_end(&sha, "trainyard/push").await;
    docker::assert_no_containers(&app.db).await;
    end
}

async fn json(app: &App, path: &str) -> Value {
    serde_json::from_str(&app.get(path).await.1).unwrap()
}

/// Holds some 60 MB and keeps a processor busy meanwhile.
const BUSY: &str = "language: shell\nscript:\n  - x=$(head -c 60000000 /dev/zero | tr '\\0' x)\n  \
                    - end=$((SECONDS + 4)); while [ $SECONDS -lt $end ]; do :; done\n";

#[tokio::test]
async fn what_a_job_used_is_kept_and_shown() {
    let app = App::start("limits = {cpus = 1.0}").await;
    let end = run(&app, BUSY).await;
    assert_eq!(end.state, "success", "{end:?}");

    let told = json(&app, "/api/v1/jobs/1/resources").await;
    let used = &told["used"];
    assert!((1.0..30.0).contains(&used["cpu_seconds"].as_f64().unwrap()), "{used}");
    let peak = used["memory_peak"].as_u64().unwrap();
    assert!((50_000_000..600_000_000).contains(&peak), "{used}");
    let names: Vec<&String> = told["series"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["cpu", "disk_read", "disk_write", "memory", "network_in", "network_out"]);
    let cpu = &told["series"]["cpu"];
    assert_eq!(cpu["unit"], "processors");
    let (times, values) = (cpu["milliseconds"].as_array().unwrap(), cpu["values"].as_array().unwrap());
    // About one a second; a busy engine takes longer.
    assert!((2..15).contains(&times.len()) && times.len() == values.len(), "{cpu}");
    assert!(times[0].as_u64().unwrap() >= 500 && times.is_sorted_by_key(|at| at.as_u64()), "{cpu}");
    assert!(values.iter().all(|busy| (0.0..1.5).contains(&busy.as_f64().unwrap())), "the limit is one: {cpu}");

    let (code, page) = app.get("/acme/styles/builds/1/jobs/1").await;
    assert!(code == 200 && page.contains("Processor time") && page.contains("Chart of memory by time"), "{page}");
    let (_, facts) = app.get("/acme/styles/builds/1/jobs/1?part=facts").await;
    assert!(facts.contains("Chart of memory by time") && !facts.contains("id=\"log\""), "{facts}");
    app.stop().await;
}

#[tokio::test]
async fn a_job_that_is_over_at_once_has_no_record() {
    let app = App::start("").await;
    assert_eq!(run(&app, "language: shell\ngit: {clone: false}\nscript:\n  - true\n").await.state, "success");
    let told = json(&app, "/api/v1/jobs/1/resources").await;
    // On a busy machine, the job may last long enough for a sample.
    let points: Vec<i32> =
        sqlx::query_scalar("select cardinality(points) from series").fetch_all(&app.db).await.unwrap();
    assert!(told["used"].is_null() == points.is_empty() && points.iter().all(|points| *points <= 2), "{told}");
    assert_eq!(app.get("/api/v1/jobs/2/resources").await.0, 404);
    app.stop().await;
}

#[tokio::test]
async fn a_child_that_the_kernel_killed_for_memory_is_named() {
    let app = App::start("limits = {memory = '64 MiB'}").await;
    let end =
        run(&app, "language: shell\nscript:\n  - bash -c 'x=$(head -c 300000000 /dev/zero | tr \"\\\\0\" x)'\n").await;
    assert!(end.description.contains("out of memory: the limit is 64.0 MiB"), "{end:?}");
    app.stop().await;
}

#[tokio::test]
async fn a_command_that_was_killed_is_told_so() {
    let app = App::start("").await;
    let end = run(&app, "language: shell\nscript:\n  - bash -c 'kill -9 $$'\n").await;
    assert!(end.description.contains("killed, most likely because memory ran out (the limit is 4.0 GiB)"), "{end:?}");
    app.stop().await;
}

#[tokio::test]
async fn a_full_disk_is_named() {
    let app = App::start("limits = {shared_memory = '1 MiB'}").await;
    let end = run(&app, "language: shell\nscript:\n  - head -c 5000000 /dev/zero > /dev/shm/weights\n").await;
    assert!(end.state == "failure" && end.description.contains("no space was left on the disk"), "{end:?}");
    let log = String::from_utf8(app.log(1).await).unwrap();
    assert!(log.ends_with("\n\nThe job failed: no space was left on the disk or in /dev/shm.\n"), "{log}");
    app.stop().await;
}
