//! Train jobs: a whole training with the team's own config, behind all other jobs, and its gates.

use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use trainyard::domain::{AttemptId, BuildId, JobId};
use trainyard::store::queue;

use crate::support::app::App;
use crate::support::docker;
use crate::support::git_host::Repo;
use crate::support::payload::{self, Delivery};

/// A trainer that prints what a real one would, and saves what it is told to save.
pub(super) const TRAINER: &str = include_str!("../../fixtures/trainer/train.py");
pub(super) const CONFIG: &str = "base_model: ./models/sd.bin\ntrain_data_dir: ./data\nmetadata_path: ./data/captions.txt\n\
                      output_dir: ./out\nlora_rank: 16\nmax_train_steps: 40\nlearning_rate: 1.0e-4\n";

/// Commits a config, with all that its training reads, and a `.travis.yml` with this `lora.train`.
pub(super) fn commit(repo: &Repo, train: &str) -> String {
    repo.write("train.py", TRAINER);
    repo.write("configs/ink.yaml", CONFIG);
    repo.write("models/sd.bin", "a model");
    repo.write("data/captions.txt", "an image");
    repo.write(".travis.yml", &format!("language: python\nlora:\n  train:\n    gpus: 0\n{train}"));
    repo.commit("Ink [train]")
}

pub(super) async fn push(app: &App, repo: &Repo, id: &str) {
    let payload = payload::push(&app.github, repo, "main");
    let (code, answer) = Delivery::new(id, "push", &payload).post(&app.base).await;
    assert_eq!(code, 202, "{answer}");
}

#[tokio::test]
async fn a_push_trains_after_its_smoke_job_and_keeps_the_weights() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    let sha = commit(
        &repo,
        "    if: branch = main AND commit_message =~ /\\[train\\]/\n    \
         command: python train.py --config {config} && echo '{\"eval\":{\"clip\":0.5}}' | tee out/metrics.json >out/provenance.json\n    \
         gate:\n      loss: {max: 0.1, window: 10, falling: true}\n      \
         weights: {rank: 16, size: {max: 1MB}}\n      metrics: {eval/clip: {min: 0.4}}\n      duration: {max: 10m}\n",
    );
    push(&app, &repo, "d-1").await;
    let end = app.github.wait_for_end(&sha, "trainyard/push").await;
    assert_eq!(end.state, "success", "{end:?}\n{}", String::from_utf8_lossy(&app.log(2).await));
    let jobs: Vec<(String, String, bool)> = sqlx::query_as(
        "select name, kind::text, started_at >= (select finished_at from job where number = 1) from job order by number",
    )
    .fetch_all(&app.db)
    .await
    .unwrap();
    let job = |name: &str, kind: &str, is_later| (name.to_owned(), kind.to_owned(), is_later);
    assert_eq!(jobs, [job("smoke configs/ink.yaml", "smoke", false), job("train configs/ink.yaml", "train", true)]);
    let log = String::from_utf8(app.log(2).await).unwrap();
    assert!(log.contains("step 40/40 loss=0.0250\n") && log.contains("gate-loss: the mean of the last 10"), "{log}");
    let report: Value =
        sqlx::query_scalar("select body from report where job_id = 2").fetch_one(&app.db).await.unwrap();
    let conditions = report["conditions"].as_array().unwrap();
    assert!(conditions.iter().all(|it| it["holds"] == true), "{report:#}");
    let names: Vec<&str> = conditions.iter().filter_map(|it| it["name"].as_str()).collect();
    for gate in ["steps", "gate-loss", "gate-loss-falling", "gate-rank", "gate-size", "gate-metric", "gate-duration"] {
        assert!(names.contains(&gate), "{gate}: {names:?}");
    }
    assert_eq!(report["metrics"], json!({"eval/clip": 0.5}));
    let (code, page) = app.get("/acme/styles/builds/1/jobs/2").await;
    assert!(code == 200 && page.contains("gate-loss") && page.contains("LoRA of rank 16, 1 module"), "{page}");
    let (_, artifacts) = app.get("/api/v1/jobs/2/artifacts").await;
    for kept in ["pytorch_lora_weights.safetensors", "metrics.json"] {
        assert!(artifacts.contains(kept), "{artifacts}");
    }
    verify(&app, &sha).await;
    docker::assert_no_containers(&app.db).await;
    app.stop().await;
}

/// Verifies the statement of the job's weights with `trainyard verify` and with openssl.
async fn verify(app: &App, sha: &str) {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in
        ["pytorch_lora_weights.safetensors", "provenance.json", "provenance.json.sig", "provenance.intoto.jsonl"]
    {
        let address = format!("{}/api/v1/jobs/2/artifacts/{name}", app.base);
        let bytes = reqwest::get(address).await.unwrap().error_for_status().unwrap().bytes().await.unwrap();
        std::fs::write(at(name), bytes).unwrap();
    }
    std::fs::write(at("key.pem"), app.get("/provenance.pem").await.1).unwrap();
    let run = |file: &str, key: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trainyard"));
        let output = command.arg("verify").arg(at(file)).arg("--key").arg(at(key)).arg("--json").output().unwrap();
        let facts: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (output.status.code(), facts)
    };
    let (code, facts) = run("pytorch_lora_weights.safetensors", "key.pem");
    assert_eq!((code, &facts["name"]), (Some(0), &json!("pytorch_lora_weights.safetensors")), "{facts:#}");
    let dependencies = &facts["predicate"]["buildDefinition"]["resolvedDependencies"];
    assert_eq!(dependencies[0]["digest"]["gitCommit"], sha, "{facts:#}");
    assert_eq!(dependencies[1]["digest"]["sha256"], hex::encode(Sha256::digest(CONFIG)), "{facts:#}");
    let parameters = &facts["predicate"]["buildDefinition"]["externalParameters"];
    assert_eq!((&parameters["ref"], &parameters["seed"]), (&json!("refs/heads/main"), &Value::Null));
    std::fs::write(at("forged.safetensors"), "other weights").unwrap();
    let (code, facts) = run("forged.safetensors", "key.pem");
    assert_eq!((code, &facts["error"]), (Some(1), &json!("the statement is not about this file")));
    let signature = std::fs::read_to_string(at("provenance.json.sig")).unwrap();
    std::fs::write(at("sig"), STANDARD.decode(signature.trim()).unwrap()).unwrap();
    let openssl = |file: &str| {
        let mut openssl = Command::new("openssl");
        openssl.args(["pkeyutl", "-verify", "-pubin", "-rawin", "-inkey"]).arg(at("key.pem"));
        openssl.arg("-in").arg(at(file)).arg("-sigfile").arg(at("sig")).output().unwrap().status.success()
    };
    assert!(openssl("provenance.json") && !openssl("provenance.intoto.jsonl"));
}

#[tokio::test]
async fn a_gate_that_does_not_hold_fails_the_job_with_its_numbers() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    let sha = commit(
        &repo,
        "    if: true\n    gate: {loss: {max: 0.001, window: 5}, weights: {rank: 8}, metrics: {clip: {min: 1}}, \
         samples: {min: 2}}\n",
    );
    push(&app, &repo, "d-1").await;
    let end = app.github.wait_for_end(&sha, "trainyard/push").await;
    assert_eq!(end.state, "failure", "{end:?}");
    let (verdict, status, reason): (String, i64, String) =
        sqlx::query_as("select verdict::text, exit_status, reason from job where kind = 'train'")
            .fetch_one(&app.db)
            .await
            .unwrap();
    assert_eq!((verdict.as_str(), status), ("failed", 0));
    assert!(
        reason.starts_with(
            "gate-loss, gate-rank, gate-metric, gate-samples: the mean of the last 5 steps is 0.0263, at most 0.001 is \
             wanted"
        ),
        "{reason}"
    );
    let log = String::from_utf8(app.log(2).await).unwrap();
    for told in [
        "pytorch_lora_weights.safetensors: rank 16, rank 8 is wanted",
        "clip is missing: the output folder has no metrics.json",
        "0 sample images, at least 2 are wanted",
    ] {
        assert!(log.contains(told), "{told}: {log}");
    }
    app.stop().await;
}

#[tokio::test]
async fn a_failed_smoke_job_saves_the_training() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    commit(&repo, "    if: true\n");
    repo.write("configs/ink.yaml", &format!("{CONFIG}sample_prompts: still\n"));
    let sha = repo.commit("Weights that do not move");
    push(&app, &repo, "d-1").await;
    assert_eq!(app.github.wait_for_end(&sha, "trainyard/push").await.state, "failure");
    let ends: Vec<(String, String, i32)> =
        sqlx::query_as("select kind::text, verdict::text, attempt from job order by number")
            .fetch_all(&app.db)
            .await
            .unwrap();
    let end = |kind: &str, verdict: &str, attempt| (kind.to_owned(), verdict.to_owned(), attempt);
    assert_eq!(ends, [end("smoke", "failed", 1), end("train", "canceled", 0)]);
    app.stop().await;
}

#[tokio::test]
async fn a_training_that_needs_a_gpu_waits_for_one() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    commit(&repo, "    if: true\n");
    repo.write(".travis.yml", "language: python\nlora: {smoke: false, train: {if: true, gpus: 2}}\n");
    repo.commit("On two GPUs");
    push(&app, &repo, "d-1").await;
    let query = "select wait_reason from job where state = 'queued' and wait_reason is not null";
    for _ in 0..600 {
        if let Some(why) = sqlx::query_scalar::<_, String>(query).fetch_optional(&app.db).await.unwrap() {
            assert!(why.contains("GPU"), "{why}");
            app.stop().await;
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the job does not say what it waits for");
}

const RESUMING: &str = include_str!("../../fixtures/trainer/resuming.py");

/// Waits until a query has an answer.
pub(super) async fn until(app: &App, query: &str) {
    for _ in 0..1200 {
        if sqlx::query_scalar::<_, bool>(sqlx::AssertSqlSafe(query.to_owned())).fetch_one(&app.db).await.unwrap() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{query} is never true");
}

/// Pushes a training of 100 steps that takes some time, and waits until the service has a checkpoint of it.
async fn half_trained(app: &App) -> Repo {
    let repo = app.github.repo("acme/styles");
    commit(&repo, "    if: true\n");
    repo.write("train.py", RESUMING);
    repo.write("configs/ink.yaml", &CONFIG.replace("max_train_steps: 40", "max_train_steps: 100"));
    repo.write(
        ".travis.yml",
        "language: python\nlora:\n  smoke: false\n  train:\n    if: true\n    gpus: 0\n    command: 'PAUSE=0.15 python \
         train.py --config {config} ${RESUME_FROM:+--resume \"$RESUME_FROM\"}'\n",
    );
    repo.commit("A training that takes long");
    push(app, &repo, "d-1").await;
    until(app, "select exists (select from checkpoint)").await;
    repo
}

/// Checks that a training went on, that its curve is whole, and that its weights are those of an unbroken one.
async fn assert_whole(app: &App, repo: &Repo) {
    until(app, "select state in ('passed', 'failed', 'errored') from build where id = 1").await;
    let log = String::from_utf8(app.log(1).await).unwrap();
    let (verdict, reason): (String, Option<String>) =
        sqlx::query_as("select verdict::text, reason from job where id = 1").fetch_one(&app.db).await.unwrap();
    assert_eq!(verdict, "passed", "{reason:?}\n{log}");
    assert!(log.contains("Goes on from ") && log.contains("which attempt 1 has saved."), "{log}");
    assert!(!log.contains("step 20/100") && log.contains("step 100/100"), "{log}");
    let steps: Vec<i64> =
        sqlx::query_scalar("select steps from series where name = 'loss'").fetch_one(&app.db).await.unwrap();
    assert_eq!(steps, (1..=100).collect::<Vec<i64>>());
    let unbroken = tempfile::tempdir().unwrap();
    let config = std::fs::read_to_string(repo.work().join("configs/ink.yaml")).unwrap();
    std::fs::write(unbroken.path().join("train.py"), RESUMING).unwrap();
    std::fs::write(unbroken.path().join("ink.yaml"), config).unwrap();
    let mut python = Command::new("python3");
    python.args(["train.py", "--config", "ink.yaml"]).current_dir(unbroken.path());
    assert!(python.output().unwrap().status.success());
    let weights = std::fs::read(unbroken.path().join("out/pytorch_lora_weights.safetensors")).unwrap();
    let artifacts: Value = serde_json::from_str(&app.get("/api/v1/jobs/1/artifacts").await.1).unwrap();
    let kept = artifacts["artifacts"].as_array().unwrap();
    let kept = kept.iter().find(|it| it["path"] == "pytorch_lora_weights.safetensors").expect("the weights");
    assert_eq!(kept["sha256"], hex::encode(Sha256::digest(weights)));
    let left: i64 = sqlx::query_scalar("select count(*) from checkpoint").fetch_one(&app.db).await.unwrap();
    assert_eq!(left, 0, "nothing goes on from here");
}

/// Waits until the losses of the job are those of an attempt that has gone on. Returns them.
async fn resumed_losses(app: &App) -> Value {
    for _ in 0..600 {
        let losses: Value = serde_json::from_str(&app.get("/api/v1/jobs/1/series").await.1).unwrap();
        if losses["resumed_at"].as_array().is_some_and(|steps| !steps.is_empty()) {
            return losses;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no attempt has gone on");
}

#[tokio::test]
async fn a_running_training_tells_how_far_it_is() {
    let app = App::start("").await;
    half_trained(&app).await;
    until(&app, "select exists (select from progress where seconds_per_step is not null)").await;
    let job: Value = serde_json::from_str(&app.get("/api/v1/jobs/1").await.1).unwrap();
    let progress = &job["progress"];
    let step = progress["step"].as_u64().unwrap_or_else(|| panic!("{job:#}"));
    assert!((2..100).contains(&step) && progress["steps"] == 100 && progress["loss"]["step"] == step, "{job:#}");
    let left = job["seconds_left"].as_u64().unwrap();
    assert!((1..=30).contains(&left), "80 steps of 0.15 s and a little: {job:#}");
    for page in ["/acme/styles/builds/1", "/acme/styles/builds/1/jobs/1"] {
        let (_, html) = app.get(page).await;
        assert!(html.contains("<progress max=\"100\"") && html.contains(" of 100, loss "), "{html}");
    }
    let told = app
        .github
        .wait_for(Duration::from_secs(20), |it| it.description.starts_with("running: 1 job, 1.1 step "))
        .await;
    assert!(told.description.contains(" of 100, loss 0.") && told.description.ends_with(" left"), "{told:?}");
    app.stop().await;
}

#[tokio::test]
async fn a_lost_training_goes_on_from_its_checkpoint_and_ends_with_the_same_weights() {
    let app = App::start("").await;
    let repo = half_trained(&app).await;
    let attempt = AttemptId { job: JobId(1), number: 1 };
    assert!(queue::requeue(&app.db, attempt, Duration::ZERO, "its machine was lost").await.unwrap());
    // The curve of the running attempt begins with the steps of the lost one.
    let losses = resumed_losses(&app).await;
    let running: bool =
        sqlx::query_scalar("select state = 'running' from job where id = 1").fetch_one(&app.db).await.unwrap();
    let steps: Vec<u64> = losses["points"].as_array().unwrap().iter().map(|it| it["step"].as_u64().unwrap()).collect();
    let resumed = losses["resumed_at"][0].as_u64().unwrap();
    assert!(running && resumed % 20 == 1, "{losses:#}");
    assert_eq!(steps, (1..=steps.len() as u64).collect::<Vec<_>>());
    let (_, page) = app.get("/acme/styles/builds/1/jobs/1").await;
    assert!(page.contains("class=\"resumed\"") && page.contains("<dt>Resumed</dt>"), "{page}");
    assert_whole(&app, &repo).await;
    let whole = resumed_losses(&app).await;
    assert_eq!((whole["points"].as_array().unwrap().len(), &whole["resumed_at"][0]), (100, &resumed.into()));
    docker::assert_no_containers(&app.db).await;
    app.stop().await;
}

#[tokio::test]
async fn a_canceled_training_goes_on_when_it_is_restarted() {
    let app = App::start("").await;
    let repo = half_trained(&app).await;
    sqlx::query("update job set cancel_requested = true where id = 1").execute(&app.db).await.unwrap();
    until(&app, "select state = 'canceled' from build where id = 1").await;
    let mut tx = app.db.begin().await.unwrap();
    let build: BuildId = sqlx::query_scalar("select id from build").fetch_one(&mut *tx).await.unwrap();
    assert_eq!(queue::restart(&mut tx, build, None, "ada").await.unwrap(), Ok(1));
    tx.commit().await.unwrap();
    assert_whole(&app, &repo).await;
    app.stop().await;
}

#[tokio::test]
async fn a_matrix_trains_each_combination_and_ranks_them() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    commit(&repo, "    if: true\n");
    let travis = "language: python\nlora: {smoke: false, train: {if: true, gpus: 0, matrix: {max_train_steps: [10, 30], \
                  lora_rank: [4]}}}\n";
    repo.write(".travis.yml", travis);
    let sha = repo.commit("Sweep");
    push(&app, &repo, "d-1").await;
    let end = app.github.wait_for_end(&sha, "trainyard/push").await;
    assert_eq!(end.state, "success", "{end:?}\n{}", String::from_utf8_lossy(&app.log(1).await));
    let (_, page) = app.get("/acme/styles/builds/1").await;
    let at = |text: &str| page.rfind(text).unwrap_or_else(|| panic!("{text}: {page}"));
    let of = |steps: u8| format!("train configs/ink.yaml with max_train_steps={steps}, lora_rank=4</a></td>");
    assert!(page.contains("<h2 id=\"ranking\">Trainings</h2>"), "{page}");
    assert!(at(&of(30)) < at(&of(10)), "the longer training has the lower loss: {page}");
    let log = String::from_utf8(app.log(2).await).unwrap();
    assert!(log.contains("step 30/30 loss=0.0333") && log.contains("LoRA of rank 4"), "{log}");
    app.stop().await;
}
