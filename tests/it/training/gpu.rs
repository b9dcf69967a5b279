//! A training on a GPU: its memory as a gate, and the GPU in the statement of provenance.

use std::process::Command;

use serde_json::{Value, json};

use super::train::{CONFIG, TRAINER, push, until};
use crate::support::app::App;
use crate::support::engine::gpu::GpuEngine;

/// Returns weights as a trainer saves them. The engine's image has no Python.
fn weights() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("train.py"), TRAINER).unwrap();
    std::fs::write(folder.path().join("ink.yaml"), CONFIG).unwrap();
    for (path, text) in [("models/sd.bin", "a model"), ("data/captions.txt", "an image")] {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let mut python = Command::new("python3");
    python.args(["train.py", "--config", "ink.yaml"]).current_dir(folder.path());
    assert!(python.output().unwrap().status.success());
    std::fs::read(folder.path().join("out/pytorch_lora_weights.safetensors")).unwrap()
}

#[tokio::test]
async fn the_memory_of_its_gpu_is_a_gate_and_the_gpu_is_in_the_statement() {
    let engine = GpuEngine::start();
    engine.has(&[("GPU-1", 4)], &[]);
    let app = App::start(&engine.configuration()).await;
    let repo = app.github.repo("acme/styles");
    repo.write("configs/ink.yaml", &format!("{CONFIG}seed: 7\n"));
    repo.write("models/sd.bin", "a model");
    repo.write("data/captions.txt", "an image");
    repo.write_bytes("saved.bin", &weights());
    let travis = |most: &str| {
        format!(
            "language: shell\nlora:\n  smoke: false\n  train:\n    if: true\n    gate: {{vram: {{max: {most}}}}}\n    \
             command: mkdir -p out && cp saved.bin out/a.safetensors && true {{config}} && for i in 1 2 3; do echo \"step $i/3 \
             loss=0.$((6 - i))\"; sleep 2; done\n"
        )
    };
    repo.write(".travis.yml", &travis("2GiB"));
    let sha = repo.commit("Ink");
    push(&app, &repo, "d-1").await;
    until(&app, "select coalesce((select log_length > 0 from job), false)").await;
    // The training takes more and more.
    engine.has(&[("GPU-1", 3072)], &[]);
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    engine.has(&[("GPU-1", 4)], &[]);
    let end = app.github.wait_for_end(&sha, "trainyard/push").await;
    let log = String::from_utf8_lossy(&app.log(1).await).into_owned();
    assert_eq!(end.state, "failure", "{log}");
    assert!(log.contains("gate-vram: 3.0 GiB of GPU memory, at most 2.0 GiB is wanted"), "{log}");

    repo.write(".travis.yml", &travis("8GiB"));
    let sha = repo.commit("On a larger one");
    push(&app, &repo, "d-2").await;
    let end = app.github.wait_for_end(&sha, "trainyard/push").await;
    assert_eq!(end.state, "success", "{}", String::from_utf8_lossy(&app.log(2).await));
    let (_, statement) = app.get("/api/v1/jobs/2/artifacts/provenance.json").await;
    let statement: Value = serde_json::from_str(&statement).unwrap();
    let made = &statement["predicate"]["buildDefinition"];
    assert_eq!(made["externalParameters"]["seed"], 7, "{statement:#}");
    let hardware = json!({"gpus": ["GPU-1"], "gpuModels": ["Tesla T4"], "driver": "570.124.06"});
    assert_eq!(made["internalParameters"], hardware);
    app.stop().await;
}
