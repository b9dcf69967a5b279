//! A training whose trainer goes on by itself, from the files that it finds.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use trainyard::domain::{AttemptId, JobId};
use trainyard::lora::series::{Point, picture};
use trainyard::store::queue;

use super::train::{push, until};
use crate::support::app::App;

const TOOLKIT: &str = include_str!("../../fixtures/trainer/toolkit.py");
const CONFIG: &str = "job: extension\nconfig:\n  name: ink\n  process:\n    - type: sd_trainer\n      training_folder: out\n      \
                      device: cpu\n      network: {type: lora, linear: 16, linear_alpha: 16}\n      \
                      datasets: [{folder_path: data, caption_ext: txt}]\n      \
                      train: {steps: 100, batch_size: 1, lr: 1.0e-4}\n      model: {name_or_path: models/sd}\n";

#[tokio::test]
async fn ai_toolkit_goes_on_from_its_folder_and_ends_with_the_same_weights() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    repo.write("run.py", TOOLKIT);
    repo.write("ink.yaml", CONFIG);
    repo.write("models/sd/model_index.json", "{}");
    repo.write("data/a.txt", "an image");
    let image = picture(&[Point { step: 1, value: 1.0 }, Point { step: 2, value: 0.5 }]).unwrap();
    repo.write_bytes("data/a.png", &image);
    repo.write(
        ".travis.yml",
        "language: python\ninstall: export PAUSE=0.3\nlora:\n  smoke: false\n  train:\n    if: true\n    gpus: 0\n",
    );
    let sha = repo.commit("A training that takes long");
    push(&app, &repo, "d-1").await;
    // With one file of weights, there would be no order to keep.
    until(&app, "select exists (select from job where log_length > 0)").await;
    while !String::from_utf8_lossy(&app.log(1).await).contains("step 41/100") {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let now: String = sqlx::query_scalar("select clock_timestamp()::text").fetch_one(&app.db).await.unwrap();
    until(&app, &format!("select exists (select from checkpoint where made_at > '{now}')")).await;
    let attempt = AttemptId { job: JobId(1), number: 1 };
    assert!(queue::requeue(&app.db, attempt, Duration::ZERO, "its machine was lost").await.unwrap());
    let end = app.github.wait_for_end(&sha, "trainyard/push").await;
    let log = String::from_utf8_lossy(&app.log(1).await).into_owned();
    assert_eq!(end.state, "success", "{end:?}\n{log}");
    assert!(log.contains("Goes on from /home/travis/build/acme/styles/out/ink, which attempt 1 has saved."), "{log}");
    assert!(!log.contains("step 40/100") && log.contains("step 100/100"), "{log}");

    let unbroken = tempfile::tempdir().unwrap();
    std::fs::write(unbroken.path().join("run.py"), TOOLKIT).unwrap();
    std::fs::write(unbroken.path().join("ink.yaml"), CONFIG).unwrap();
    let python = Command::new("python3").args(["run.py", "ink.yaml"]).current_dir(unbroken.path()).output().unwrap();
    assert!(python.status.success(), "{python:?}");
    let weights = std::fs::read(unbroken.path().join("out/ink/ink.safetensors")).unwrap();
    let artifacts: Value = serde_json::from_str(&app.get("/api/v1/jobs/1/artifacts").await.1).unwrap();
    let kept = artifacts["artifacts"].as_array().unwrap().iter().find(|it| it["path"] == "ink/ink.safetensors");
    assert_eq!(kept.expect("the weights")["sha256"], hex::encode(Sha256::digest(weights)));
    app.stop().await;
}
