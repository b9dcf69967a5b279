//! Builds that a passed build of Travis requests.

use serde_json::Value;

use crate::support::app::App;
use crate::support::payload::{self, Delivery};
use crate::support::travis::{self, Request};

const TRAINER: &str = include_str!("../../fixtures/trainer/train.py");
const CONFIG: &str = "base_model: ./models/sd.safetensors\ntrain_data_dir: ./data\nmetadata_path: ./data/metadata.csv\n\
                      output_dir: ./out\nlora_rank: 16\nmax_train_steps: 1000\nlearning_rate: 1.0e-4\n";

#[tokio::test]
async fn a_passed_build_on_travis_starts_the_smoke_jobs_of_its_commit() {
    let app = App::start(&travis::pinned()).await;
    let repo = app.github.repo("acme/styles");
    // Without smoke jobs: those are what Travis asks for.
    repo.write(".travis.yml", "language: python\nscript: echo tested\n");
    repo.commit("Begin");
    Delivery::new("d-1", "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
    app.github.wait_for_end(&repo.head(), "trainyard/push").await;

    repo.write("train.py", TRAINER);
    repo.write("configs/ink.yaml", CONFIG);
    let first = repo.commit("Ink");
    repo.git(&["push", "-q", "origin", "main"]);
    let (code, answer) = Request::new(&travis::passed("acme/styles", "main", &first)).post(&app.base).await;
    assert_eq!(code, 202, "{answer}");
    let end = app.github.wait_for_end(&first, "trainyard/travis").await;
    assert_eq!(end.state, "success", "{end:?}");

    // Only what has changed since the last passed build counts.
    repo.write("configs/oil.yaml", CONFIG);
    let second = repo.commit("Oil");
    repo.git(&["push", "-q", "origin", "main"]);
    Request::new(&travis::passed("Acme/Styles", "main", &second)).post(&app.base).await;
    assert_eq!(app.github.wait_for_end(&second, "trainyard/travis").await.state, "success");
    let jobs: Vec<(i32, String)> = sqlx::query_as(
        "select build.number, job.name from job join build on build.id = build_id order by job.id offset 1",
    )
    .fetch_all(&app.db)
    .await
    .unwrap();
    assert_eq!(jobs, [(2, "smoke configs/ink.yaml".to_owned()), (3, "smoke configs/oil.yaml".to_owned())]);

    let (_, json) = app.get("/api/v1/repos/acme/styles/builds/2").await;
    let build: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&build["kind"], &build["travis_number"]), (&"travis".into(), &"42".into()), "{build:#}");
    let url = "https://travis.example/acme/styles/builds/4242";
    assert_eq!(build["travis_url"], url);
    let (_, page) = app.get("/acme/styles/builds/2").await;
    assert!(page.contains(&format!("<a href=\"{url}\">Travis #42</a>")), "{page}");
    let (_, list) = app.get("/acme/styles").await;
    assert!(list.contains("Travis #42"), "{list}");
    app.stop().await;
}
