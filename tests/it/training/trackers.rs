//! What experiment trackers get of a training: files that the programs of their makers read, and runs in a real MLflow.

use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::train::{CONFIG, commit, push, until};
use crate::support::app::App;

/// Returns a path in `tests/python`, which `make setup-test` prepares.
fn python(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(path)
}

/// Reads a file or a folder with the program of a tracker's maker.
fn read(tracker: &str, path: &Path) -> Value {
    let mut command = Command::new(python("venv/bin/python"));
    let output = command.arg(python("trackers.py")).arg(tracker).arg(path).output();
    let output = output.expect("tests/python/venv is missing: run `make setup-test`");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Stores the artifact of job 1 whose path has these words in a folder. Returns its place.
async fn artifact(app: &App, words: &str, folder: &Path) -> PathBuf {
    let (_, list) = app.get("/api/v1/jobs/1/artifacts").await;
    let list: Value = serde_json::from_str(&list).unwrap();
    let paths = list["artifacts"].as_array().unwrap().iter().filter_map(|it| it["path"].as_str());
    let path = paths.clone().find(|path| path.contains(words));
    let path = path.unwrap_or_else(|| panic!("{words}: {:?}", paths.collect::<Vec<_>>()));
    let address = format!("{}/api/v1/jobs/1/artifacts/{path}", app.base);
    let bytes = reqwest::get(address).await.unwrap().error_for_status().unwrap().bytes().await.unwrap();
    let file = folder.join(path.rsplit('/').next().unwrap());
    std::fs::write(&file, bytes).unwrap();
    file
}

/// Page of the first job, at the usual address of a service.
const PAGE: &str = "http://127.0.0.1:8700/acme/styles/builds/1/jobs/1";
/// A training without a smoke job, which writes a metric and what looks like our files.
const TRAIN: &str = "language: python\nlora:\n  smoke: false\n  train:\n    if: true\n    gpus: 0\n    command: python train.py \
                     --config {config} && echo '{\"eval\":{\"clip\":0.5}}' >out/metrics.json && mkdir -p \
                     out/trainyard/wandb && echo x >out/trainyard/wandb/forged\n";

#[tokio::test]
async fn tensorboard_and_wandb_read_the_files_of_a_training() {
    let app = App::start("trackers = {wandb = true}\n").await;
    let repo = app.github.repo("acme/styles");
    commit(&repo, "    if: true\n");
    repo.write(".travis.yml", TRAIN);
    let sha = repo.commit("Ink");
    push(&app, &repo, "d-1").await;
    let end = app.github.wait_for_end(&sha, "trainyard/push").await;
    assert_eq!(end.state, "success", "{end:?}\n{}", String::from_utf8_lossy(&app.log(1).await));

    let folder = tempfile::tempdir().unwrap();
    artifact(&app, "trainyard/tensorboard/events.out.tfevents.", folder.path()).await;
    let found = read("tensorboard", folder.path());
    let losses = found["scalars"]["train/loss"].as_array().unwrap();
    assert_eq!((losses.len(), &losses[0], losses[39][0].as_u64()), (40, &json!([1, 1.0]), Some(40)));
    assert_eq!(found["scalars"]["metrics/eval/clip"], json!([[40, 0.5]]));
    let text = |tag: &str| found["texts"][tag].as_str().unwrap();
    assert!(
        text("config").contains("    lora_rank: 16\n") && text("job").contains(&format!("[job]({PAGE})")),
        "{found}"
    );

    let folder = tempfile::tempdir().unwrap();
    let file = artifact(&app, ".wandb", folder.path()).await;
    let found = read("wandb", &file);
    assert_eq!(found["run"]["project"], "acme-styles");
    assert!(found["run"]["notes"].as_str().unwrap().contains(PAGE), "{found}");
    assert_eq!((&found["config"]["lora_rank"], &found["summary"]), (&json!(16), &json!({"eval/clip": 0.5})));
    let history = found["history"].as_array().unwrap();
    assert_eq!((history.len(), &history[39][1]["train/loss"], &found["exit"][0]), (40, &json!(0.025), &json!(0)));
    let kinds = found["kinds"].as_array().unwrap();
    assert_eq!((&kinds[0], &kinds[1], kinds.len()), (&json!("header"), &json!("run"), 44));

    let (_, list) = app.get("/api/v1/jobs/1/artifacts").await;
    assert!(!list.contains("forged"), "{list}");
    app.stop().await;
}

/// A real server of MLflow. It ends with the test.
struct Server(Child);

impl Server {
    async fn start(port: u16, folder: &Path) -> Self {
        let mut command = Command::new(python("venv/bin/python"));
        command.args(["-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1", "--port", &port.to_string()]);
        command.arg("--backend-store-uri").arg(format!("sqlite:///{}", folder.join("mlflow.db").display()));
        command.arg("--artifacts-destination").arg(folder.join("artifacts"));
        // The server starts processes of its own.
        command.env("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false");
        command.process_group(0).current_dir(folder).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let server = Self(command.spawn().expect("tests/python/venv is missing: run `make setup-test`"));
        let health = format!("http://127.0.0.1:{port}/health");
        // It imports much, which takes long on a busy machine.
        for _ in 0..3000 {
            if reqwest::get(&health).await.is_ok_and(|answer| answer.status().is_success()) {
                return server;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("MLflow does not start");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let group = format!("-{}", self.0.id());
        drop(Command::new("kill").args(["-KILL", "--", &group]).status());
        drop(self.0.wait());
    }
}

async fn ask(port: u16, method: &str, path: &str, body: &Value) -> Value {
    let client = reqwest::Client::new();
    let url = format!("http://127.0.0.1:{port}/api/2.0/mlflow/{path}");
    let request = if method == "GET" { client.get(url) } else { client.post(url).json(body) };
    let answer = request.send().await.unwrap();
    assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap());
    answer.json().await.unwrap()
}

#[tokio::test]
async fn a_training_waits_for_mlflow_and_is_one_run_there() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let app =
        App::start(&format!("[trackers.mlflow]\nurl = \"http://127.0.0.1:{port}\"\ntoken = \"sesame-0123\"\n")).await;
    let repo = app.github.repo("acme/styles");
    commit(&repo, "    if: true\n");
    repo.write("configs/ink.yaml", &format!("{CONFIG}seed: 7\n"));
    repo.write(".travis.yml", TRAIN);
    let sha = repo.commit("Ink");
    push(&app, &repo, "d-1").await;
    assert_eq!(app.github.wait_for_end(&sha, "trainyard/push").await.state, "success");
    until(&app, "select exists (select from tracking where state = 'waiting' and error is not null)").await;
    let (_, page) = app.get("/acme/styles/builds/1/jobs/1").await;
    assert!(page.contains("waiting: MLflow cannot be reached"), "{page}");

    let folder = tempfile::tempdir().unwrap();
    let _server = Server::start(port, folder.path()).await;
    let again = "update tracking set state = 'waiting', done_at = null, not_before = now(), held_until = now()";
    // The second time stands for a process that was killed after it had sent all.
    for _ in 0..2 {
        sqlx::query(again).execute(&app.db).await.unwrap();
        until(&app, "select state <> 'waiting' from tracking").await;
    }
    let (state, error, url): (String, Option<String>, Option<String>) =
        sqlx::query_as("select state::text, error, url from tracking").fetch_one(&app.db).await.unwrap();
    assert_eq!(state, "tracked", "{error:?}");
    let experiment = ask(port, "GET", "experiments/get-by-name?experiment_name=acme%2Fstyles", &Value::Null).await;
    let experiment = experiment["experiment"]["experiment_id"].as_str().unwrap();
    let runs = ask(port, "POST", "runs/search", &json!({"experiment_ids": [experiment]})).await;
    let runs = runs["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 1, "{runs:#?}");
    let (info, data) = (&runs[0]["info"], &runs[0]["data"]);
    let id = info["run_id"].as_str().unwrap();
    assert_eq!(url.as_deref(), Some(format!("http://127.0.0.1:{port}/#/experiments/{experiment}/runs/{id}").as_str()));
    assert_eq!(
        (&info["status"], &info["run_name"]),
        (&json!("FINISHED"), &json!("acme/styles 1.1 train configs/ink.yaml"))
    );
    let value = |list: &Value, key: &str| -> Value {
        let all = list.as_array().unwrap();
        all.iter().find(|it| it["key"] == key).unwrap_or_else(|| panic!("{key}: {all:#?}"))["value"].clone()
    };
    assert_eq!(value(&data["params"], "seed"), "7");
    assert_eq!(value(&data["metrics"], "eval/clip"), json!(0.5));
    assert_eq!(value(&data["tags"], "mlflow.source.git.commit"), json!(sha));
    assert_eq!(value(&data["tags"], "trainyard.job"), json!(PAGE));
    let path = format!("metrics/get-history?run_id={id}&metric_key=train%2Floss");
    let history = ask(port, "GET", &path, &Value::Null).await;
    let steps: Vec<u64> = history["metrics"].as_array().unwrap().iter().filter_map(|it| it["step"].as_u64()).collect();
    assert_eq!(steps.len(), 40, "each value is there once: {steps:?}");
    let (_, page) = app.get("/acme/styles/builds/1/jobs/1").await;
    assert!(page.contains(&format!("runs/{id}\">run</a>")), "{page}");
    app.stop().await;
}
