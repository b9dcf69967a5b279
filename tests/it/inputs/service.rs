//! Train jobs that read data sets and models which the service brings.

use std::time::Duration;

use serde_json::{Value, json};

use super::world::{noise, sha256};
use crate::support::app::{App, configuration, merged, program};
use crate::support::database;
use crate::support::docker;
use crate::support::files::{FileServer, Trouble};
use crate::support::git_host::Repo;
use crate::support::github::GitHub;
use crate::support::hub::{Blob, HubServer, TOKEN};
use crate::support::lfs::{self, LfsServer};
use crate::support::payload::{self, Delivery};
use crate::support::service::Service;

const TRAINER: &str = include_str!("../../fixtures/trainer/train.py");
const CONFIG: &str = "base_model: ./models/base.bin\ntrain_data_dir: ./data/train\nmetadata_path: ./data/captions.txt\n\
                      output_dir: ./out\nlora_rank: 16\nmax_train_steps: 40\nlearning_rate: 1.0e-4\n";
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x20\0\0\0\x10";

/// Commits a training with these lines about its data, and this command before the trainer's.
fn commit(repo: &Repo, data: &str, before: &str) -> String {
    repo.write("train.py", TRAINER);
    repo.write("configs/ink.yaml", CONFIG);
    repo.write("data/captions.txt", "an image");
    let command = format!("{before} && python train.py --config {{config}}");
    let train = format!("    if: true\n    gpus: 0\n    command: '{command}'\n{data}");
    repo.write(".travis.yml", &format!("language: python\nlora:\n  smoke: false\n  train:\n{train}"));
    repo.commit("Ink")
}

async fn push(app: &App, repo: &Repo, sha: &str) -> (String, String) {
    Delivery::new(sha, "push", &payload::push(&app.github, repo, "main")).post(&app.base).await;
    let end = app.github.wait_for_end(sha, "trainyard/push").await;
    (end.state, end.description)
}

async fn log(app: &App, job: i64) -> String {
    String::from_utf8(app.log(job).await).unwrap()
}

/// Makes a data set on the Hub. Returns its commit.
fn style(hub: &HubServer) -> String {
    let files = [
        ("a.png", Blob::large(PNG)),
        ("a.txt", Blob::regular("a cat")),
        ("b.png", Blob::large([PNG, b"x"].concat())),
        ("b.txt", Blob::regular("a dog")),
    ];
    hub.make_of("datasets/acme/style", &files)
}

#[tokio::test]
async fn a_training_reads_what_the_service_has_brought() {
    let (hub, model) = (HubServer::start().await, noise(40_000_000));
    let (dataset, server, hash) = (style(&hub), FileServer::start(model.clone()).await, sha256(&model));
    let app = App::start(&hub.inputs_section(TOKEN)).await;
    let repo = app.github.repo("acme/styles");
    let data = format!(
        "    dataset: {{from: 'hf://datasets/acme/style@main', to: data/train}}\n    \
         model: {{from: '{}', sha256: {hash}, to: models/}}\n",
        server.url()
    );
    let before = "ls -A data/train models && cat data/train/b.txt && sha256sum models/base.bin && env && \
                  ! touch data/train/x && ! touch models/base.bin && ! rm data/train/a.png";
    let sha = commit(&repo, &data, before);
    let end = push(&app, &repo, &sha).await;
    let said = log(&app, 1).await;
    assert_eq!(end.0, "success", "{end:?}\n{said}");
    for told in [
        "Fetching the data set hf://datasets/acme/style@main.\n".to_owned(),
        format!("The data set hf://datasets/acme/style@main at {dataset} is here: 5 files (2 images with captions), "),
        format!("is here: 1 file, 38.1 MiB, SHA-256 {hash}, after "),
        "\na dog".to_owned(),
        format!("{hash}  models/base.bin\n"),
        "Read-only file system".to_owned(),
    ] {
        assert!(said.contains(&told), "{told}\n{said}");
    }
    assert!(!said.contains(TOKEN) && !said.contains("hf_"), "no token gets into a job");
    let rows: Vec<(String, String, i64)> =
        sqlx::query_as("select source, revision, files from input order by source").fetch_all(&app.db).await.unwrap();
    let url = server.url();
    let expected = [("hf://datasets/acme/style@main", dataset.as_str(), 5), (url.as_str(), hash.as_str(), 1)];
    assert_eq!(rows, expected.map(|(source, revision, files)| (source.to_owned(), revision.to_owned(), files)));
    let address = format!("{}/api/v1/jobs/1/artifacts/provenance.json", app.base);
    let statement: Value = reqwest::get(address).await.unwrap().json().await.unwrap();
    let dependencies = statement["predicate"]["buildDefinition"]["resolvedDependencies"].as_array().unwrap();
    assert_eq!(dependencies[3]["uri"], format!("hf://datasets/acme/style@{dataset}"));
    assert_eq!(
        (&dependencies[3]["digest"]["gitCommit"], &dependencies[3]["name"]),
        (&json!(dataset), &json!("data/train"))
    );
    assert_eq!(dependencies[4], json!({"name": "models/", "uri": server.url(), "digest": {"sha256": hash}}));

    // The next job begins with what is here.
    server.take_sent();
    let sha = commit(&repo, &data, "true");
    assert_eq!(push(&app, &repo, &sha).await.0, "success");
    let said = log(&app, 2).await;
    let took = said.split(" is here: ").nth(2).unwrap().split("after ").nth(1).unwrap().split('.').next().unwrap();
    assert!(took.ends_with("ms") && server.take_sent() == 0, "{said}");
    assert_eq!(hub.wrong(), Vec::<String>::new());
    docker::assert_no_containers(&app.db).await;
    app.stop().await;
}

#[tokio::test]
async fn a_training_reads_a_git_repository_with_large_files() {
    let server = LfsServer::start().await;
    let data = server.repo("datasets/style");
    data.write_bytes("train/a.png", PNG);
    server.write(&data, "train/b.png", &[PNG, b"x"].concat());
    data.write("train/metadata.csv", "file_name,text\na.png,\"a cat, asleep\"\nb.png,a dog\n");
    server.write(&data, "base.bin", &noise(1000));
    let dataset = data.commit("A style");
    let app = App::start(&server.section("datasets", lfs::TOKEN)).await;
    let repo = app.github.repo("acme/styles");
    let source = format!("{}@{dataset}", server.source("datasets/style"));
    let data = format!(
        "    dataset: {{from: '{source}//train', to: data/train}}\n    model: {{from: '{source}//base.bin', to: models/}}\n"
    );
    let sha = commit(&repo, &data, "ls -A data/train && sha256sum models/base.bin && env");
    let end = push(&app, &repo, &sha).await;
    let said = log(&app, 1).await;
    assert_eq!(end.0, "success", "{end:?}\n{said}");
    for told in [
        format!("The data set {source}//train at {dataset} is here: 3 files (2 images with captions), "),
        "\na.png\nb.png\nmetadata.csv\n".to_owned(),
        format!("{}  models/base.bin\n", sha256(&noise(1000))),
    ] {
        assert!(said.contains(&told), "{told}\n{said}");
    }
    assert!(!said.contains(lfs::TOKEN) && !said.contains("x-access-token"), "no token gets into a job");
    let address = format!("{}/api/v1/jobs/1/artifacts/provenance.json", app.base);
    let statement: Value = reqwest::get(address).await.unwrap().json().await.unwrap();
    let dependencies = statement["predicate"]["buildDefinition"]["resolvedDependencies"].as_array().unwrap();
    assert_eq!(dependencies[3]["uri"], format!("{source}//train"));
    assert_eq!(dependencies[3]["digest"]["gitCommit"], json!(dataset));
    assert_eq!(server.wrong(), Vec::<String>::new());
    app.stop().await;
}

#[tokio::test]
async fn data_that_cannot_be_had_end_the_job_with_the_reason() {
    let hub = HubServer::start().await;
    style(&hub);
    let app = App::start(&hub.inputs_section("hf_expired")).await;
    let repo = app.github.repo("acme/styles");
    let sha = commit(&repo, "    dataset: {from: 'hf://datasets/acme/style@v1', to: data/train}\n", "true");
    let (state, description) = push(&app, &repo, &sha).await;
    assert_eq!(state, "error", "{description}");
    let (verdict, reason): (String, String) =
        sqlx::query_as("select verdict::text, reason from job").fetch_one(&app.db).await.unwrap();
    assert_eq!(verdict, "errored");
    let told = "cannot fetch the data set hf://datasets/acme/style@v1: wrong or expired token: 401 ";
    assert!(reason.starts_with(told) && !reason.contains("hf_expired"), "{reason}");
    assert!(log(&app, 1).await.contains(told));
    app.stop().await;
}

#[tokio::test]
async fn a_cancel_ends_a_fetch_and_a_restart_goes_on_from_there() {
    let (model, hub) = (noise(40_000_000), HubServer::start().await);
    let (server, hash) = (FileServer::start(model.clone()).await, sha256(&model));
    let app = App::start(&hub.inputs_section(TOKEN)).await;
    let repo = app.github.repo("acme/styles");
    server.will_fail(&[Trouble::Hang(20_000_000), Trouble::Hang(1000)]);
    let model = format!("    model: {{from: '{}', sha256: {hash}, to: models/base.bin}}\n", server.url());
    let sha = commit(&repo, &model, "mkdir -p data/train");
    Delivery::new("d-1", "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
    for _ in 0..400 {
        if app_has_log(&app, "each second").await {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    sqlx::query("update job set cancel_requested = true").execute(&app.db).await.unwrap();
    let end = app.github.wait_for_end(&sha, "trainyard/push").await;
    assert_eq!(end.state, "error", "{end:?}");
    let said = log(&app, 1).await;
    assert!(said.contains(" MiB of 38.1 MiB, ") && said.contains("Done: Job Cancelled"), "{said}");
    server.take_sent();
    let mut tx = app.db.begin().await.unwrap();
    let build = sqlx::query_scalar("select id from build").fetch_one(&mut *tx).await.unwrap();
    trainyard::store::queue::restart(&mut tx, build, None, "ada").await.unwrap().unwrap();
    tx.commit().await.unwrap();
    for _ in 0..1200 {
        let state: String = sqlx::query_scalar("select state::text from build").fetch_one(&app.db).await.unwrap();
        if state == "passed" {
            assert!(server.take_sent() < 23_000_000);
            app.stop().await;
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{}", log(&app, 1).await);
}

async fn app_has_log(app: &App, text: &str) -> bool {
    let attempt: i32 =
        sqlx::query_scalar("select coalesce(max(attempt), 0) from job").fetch_one(&app.db).await.unwrap();
    attempt > 0 && log(app, 1).await.contains(text)
}

#[tokio::test]
async fn a_killed_service_goes_on_with_the_fetch() {
    let folder = tempfile::tempdir().unwrap();
    let github = GitHub::start(folder.path().join("github")).await;
    let model = noise(60_000_000);
    let (server, hash) = (FileServer::start(model.clone()).await, sha256(&model));
    let repo = github.repo("acme/styles");
    let model = format!("    model: {{from: '{}', sha256: {hash}, to: models/base.bin}}\n", server.url());
    let sha = commit(&repo, &model, "mkdir -p data/train");
    server.will_fail(&[Trouble::Hang(30_000_000), Trouble::Hang(10_000_000)]);
    let url = database::url().await;
    let base = configuration(&folder.path().join("data"), Some(&url), &github);
    let file = folder.path().join("config.toml");
    let change = "server = {cancel_on_stop = true}\ninputs = {allow = ['127.0.0.1']}\n";
    std::fs::write(&file, merged(&base, change)).unwrap();
    let mut service = Service::start(&program(), &file);
    Delivery::new("d-1", "push", &payload::push(&github, &repo, "main")).post(&service.base).await;
    for _ in 0..400 {
        if server.asked().len() >= 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    service.child.kill().unwrap();
    service.child.wait().unwrap();
    server.take_sent();
    let service = Service::start(&program(), &file);
    let end = github.wait_for_end(&sha, "trainyard/push").await;
    assert_eq!(end.state, "success", "{end:?}");
    let sent = server.take_sent();
    assert!(sent < 25_000_000, "{sent} bytes were fetched again");
    assert_eq!(service.interrupt(), Some(0));
}
