//! Smoke jobs: a training config of a push proves that it can be used for training, or says why not.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::app::App;
use crate::support::docker;
use crate::support::git_host::Repo;
use crate::support::payload::{self, Delivery};

/// A trainer that prints what a real one would, and saves what it is told to save.
const TRAINER: &str = include_str!("../../fixtures/trainer/train.py");
const CONFIG: &str = "base_model: ./models/sd.safetensors\ntrain_data_dir: ./data\nmetadata_path: ./data/metadata.csv\n\
                      output_dir: ./out\nlora_rank: 16\nmax_train_steps: 1000\nlearning_rate: 1.0e-4\n";

fn write(repo: &Repo, name: &str, more: &str) {
    repo.write("train.py", TRAINER);
    repo.write(&format!("configs/{name}.yaml"), &format!("{CONFIG}{more}"));
}

/// Pushes the head of the work tree. The commit before the push is `before`.
async fn push(app: &App, repo: &Repo, id: &str, before: Option<&str>) {
    let mut payload = payload::push(&app.github, repo, "main");
    if let Some(before) = before {
        payload["before"] = json!(before);
    }
    let (code, answer) = Delivery::new(id, "push", &payload).post(&app.base).await;
    assert_eq!(code, 202, "{answer}");
}

async fn jobs(app: &App) -> Vec<(i32, String, String)> {
    let query =
        "select build.number, job.name, job.kind::text from job join build on build.id = build_id order by job.id";
    sqlx::query_as(query).fetch_all(&app.db).await.unwrap()
}

#[tokio::test]
async fn a_repository_without_travis_yml_gets_smoke_jobs_for_what_changes() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    write(&repo, "ink", "");
    let first = repo.commit("Ink");
    push(&app, &repo, "d-1", None).await;
    let end = app.github.wait_for_end(&first, "trainyard/push").await;
    assert_eq!(end.state, "success", "{end:?}\n{}", String::from_utf8_lossy(&app.log(1).await));
    assert_eq!(app.github.wait_for_end(&first, "trainyard/lint").await.state, "success");

    write(&repo, "oil", "");
    let second = repo.commit("Oil");
    push(&app, &repo, "d-2", Some(&first)).await;
    assert_eq!(app.github.wait_for_end(&second, "trainyard/push").await.state, "success");

    repo.write("README.md", "Styles");
    let third = repo.commit("Words");
    push(&app, &repo, "d-3", Some(&second)).await;
    let end = app.github.wait_for_end(&third, "trainyard/push").await;
    assert_eq!((end.state.as_str(), end.description.as_str()), ("success", "passed: nothing to run"));
    let smoke = |build: i32, name: &str| (build, format!("smoke configs/{name}.yaml"), "smoke".to_owned());
    assert_eq!(jobs(&app).await, [smoke(1, "ink"), smoke(2, "oil")]);

    let log = String::from_utf8(app.log(1).await).unwrap();
    assert!(log.contains("max_train_steps: 1000 -> 3\n") && log.contains("step 3/3 loss=0.3333\n"), "{log}");
    assert!(log.contains("weights-trained: the weights moved"), "{log}");
    let report: Value =
        sqlx::query_scalar("select body from report where job_id = 1").fetch_one(&app.db).await.unwrap();
    assert_eq!(report["saved"][0]["path"], "pytorch_lora_weights.safetensors");
    assert!(report["conditions"].as_array().unwrap().iter().all(|it| it["holds"] == true), "{report:#}");
    let points: Vec<f64> =
        sqlx::query_scalar("select points from series where job_id = 1").fetch_one(&app.db).await.unwrap();
    assert_eq!(points, [1.0, 0.5, 0.3333]);
    let (code, page) = app.get("/acme/styles/builds/1/jobs/1").await;
    assert!(code == 200 && page.contains("weights-trained") && page.contains("LoRA of rank 4, 1 module"), "{page}");
    let (_, artifacts) = app.get("/api/v1/jobs/1/artifacts").await;
    let artifacts: Value = serde_json::from_str(&artifacts).unwrap();
    let kept = artifacts["artifacts"].as_array().unwrap();
    let weights =
        kept.iter().find(|it| it["path"] == "pytorch_lora_weights.safetensors").expect("the weights are kept");
    assert_eq!(weights["sha256"], report["saved"][0]["weights"]["read"]["sha256"], "{report:#}");
    docker::assert_no_containers(&app.db).await;
    app.stop().await;
}

#[tokio::test]
async fn exit_status_0_does_not_make_a_training_pass() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    let cases = [
        ("no_data", "steps, loss, weights-file: no step was seen"),
        ("early", "steps: 2 of 3 steps: the training ended early"),
        ("nan", "loss: the loss is NaN from step 2 on"),
        ("nothing_saved", "weights-file: no weights were saved"),
        ("cut", "weights-file: pytorch_lora_weights.safetensors cannot be read: this file was cut off"),
        ("still", "weights-trained: pytorch_lora_weights.safetensors: "),
        ("infinite", "weights-finite: pytorch_lora_weights.safetensors: "),
        ("unpaired", "weights-pairs: pytorch_lora_weights.safetensors: "),
    ];
    for (name, _) in cases {
        write(&repo, name, &format!("seed: 1 # behave: {name}\nsample_prompts: {name}\n"));
    }
    let sha = repo.commit("Everything that goes wrong");
    push(&app, &repo, "d-1", None).await;
    let end = app.github.wait_for_end(&sha, "trainyard/push").await;
    assert_eq!(end.state, "failure", "{end:?}");
    let ended: Vec<(String, String, Option<i64>, String)> =
        sqlx::query_as("select name, verdict::text, exit_status, reason from job").fetch_all(&app.db).await.unwrap();
    for (name, reason) in cases {
        let job = ended.iter().find(|job| job.0 == format!("smoke configs/{name}.yaml")).unwrap();
        assert_eq!((job.1.as_str(), job.2), ("failed", Some(0)), "{job:?}");
        assert!(job.3.starts_with(reason), "{name}: {}", job.3);
    }
    docker::assert_no_containers(&app.db).await;
    app.stop().await;
}

#[tokio::test]
async fn a_pull_request_tries_what_it_changes_and_no_more() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    write(&repo, "ink", "");
    // A key that the author invented does not turn a script job into a smoke job.
    repo.write(".travis.yml", "language: python\nscript: echo tested\nsmoke: yes\n");
    let base = repo.commit("Ink");
    repo.git(&["checkout", "--quiet", "-b", "watercolour"]);
    write(&repo, "water", "");
    let head = repo.commit("Watercolour");
    repo.git(&["checkout", "--quiet", "main"]);
    // Commits that were added to the base meanwhile are not part of the pull request.
    write(&repo, "oil", "");
    let moved = repo.commit("Oil");
    repo.open_pull_request(7, &moved, &head);
    let payload = payload::pull_request(&app.github, &repo, 7, &base, &head);
    Delivery::new("d-1", "pull_request", &payload).post(&app.base).await;
    let end = app.github.wait_for_end(&head, "trainyard/pr").await;
    assert_eq!(end.state, "success", "{end:?}");
    let kinds: Vec<(String, Option<String>)> =
        sqlx::query_as("select kind::text, name from job order by number").fetch_all(&app.db).await.unwrap();
    let smoke = Some("smoke configs/water.yaml".to_owned());
    assert_eq!(kinds, [("script".to_owned(), None), ("smoke".to_owned(), smoke)]);
    app.stop().await;
}

#[test]
fn a_smoke_job_runs_here_too() {
    let folder = tempfile::tempdir().unwrap();
    let put = |path: &str, text: &str| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    // The script of the file is not run now, only the smoke job.
    put(".travis.yml", "language: python\nbranches: {only: [release]}\nscript: exit 1\n");
    put("train.py", TRAINER);
    put("configs/good.yaml", CONFIG);
    put("configs/bad.yaml", &format!("{CONFIG}sample_prompts: still\n"));
    put("notes.yaml", "a: b\n");
    let (code, good) = run(folder.path(), "configs/good.yaml");
    assert_eq!((code, &good["state"]), (Some(0), &json!("passed")), "{good:#}");
    let (code, bad) = run(folder.path(), "./configs/bad.yaml");
    assert_eq!((code, &bad["jobs"][0]["verdict"]), (Some(1), &json!("failed")), "{bad:#}");
    assert!(bad["jobs"][0]["reason"].as_str().unwrap().starts_with("weights-trained: "), "{bad:#}");
    assert_eq!(
        run(folder.path(), "notes.yaml"),
        (Some(1), json!({"state": "errored", "jobs": [], "problems": [], "skip": null}))
    );
    assert_eq!(run(folder.path(), "missing.yaml"), (Some(2), Value::Null));
}

/// Runs `trainyard run --smoke`. Returns the exit status, and its facts if there are any.
fn run(folder: &Path, config: &str) -> (Option<i32>, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trainyard"));
    let output = command.arg("run").arg(folder).args(["--smoke", config, "--json"]).output().unwrap();
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_default())
}
