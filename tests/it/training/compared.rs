//! Gates that compare a training with another one.

use super::train::{CONFIG, commit, push};
use crate::support::app::App;
use crate::support::git_host::Repo;

const GATE: &str = "loss: {within: 10%, window: 1}, weights: {norm: {factor: 1.5}}";

/// Pushes a training of so many steps, whose last loss is one divided by them. Returns its verdict, its reason and its log.
async fn train(app: &App, repo: &Repo, build: i64, steps: u32, gate: &str) -> (String, String, String) {
    repo.write("configs/ink.yaml", &CONFIG.replace("max_train_steps: 40", &format!("max_train_steps: {steps}")));
    repo.write(
        ".travis.yml",
        &format!("language: python\nlora: {{smoke: false, train: {{if: true, gpus: 0, gate: {{{gate}}}}}}}\n"),
    );
    let sha = repo.commit(&format!("{steps} steps"));
    push(app, repo, &sha).await;
    app.github.wait_for_end(&sha, "trainyard/push").await;
    let (job, verdict, reason): (i64, String, Option<String>) = sqlx::query_as(
        "select job.id, verdict::text, reason from job join build on build.id = build_id where build.number = $1",
    )
    .bind(build)
    .fetch_one(&app.db)
    .await
    .unwrap();
    let log = String::from_utf8_lossy(&app.log(job).await).into_owned();
    (verdict, reason.unwrap_or_default(), log)
}

#[tokio::test]
async fn a_training_is_compared_with_the_last_one_of_the_base_branch() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    commit(&repo, "    if: true\n");
    let (verdict, _, log) = train(&app, &repo, 1, 40, GATE).await;
    assert_eq!(verdict, "passed", "{log}");
    let nothing = "gate-loss-within: not compared: no training of configs/ink.yaml has passed on main before build 1";
    assert!(log.contains(nothing), "{log}");

    let (verdict, reason, log) = train(&app, &repo, 2, 20, GATE).await;
    assert_eq!(verdict, "failed", "{log}");
    let numbers = "gate-loss-within: the mean of the last 1 steps is 0.0500 (+100.0%), that of build 1 of main is 0.0250, and 10% \
                   of difference are allowed";
    assert_eq!(reason, numbers);
    assert!(log.contains("gate-norm-factor: pytorch_lora_weights.safetensors: median norm"), "{log}");

    // What has failed is no reference.
    let (verdict, _, log) = train(&app, &repo, 3, 41, GATE).await;
    assert!(verdict == "passed" && log.contains("(-2.4%), that of build 1 of main is 0.0250"), "{verdict}: {log}");
    let (verdict, _, log) = train(&app, &repo, 4, 41, GATE).await;
    assert!(verdict == "passed" && log.contains("that of build 3 of main"), "{verdict}: {log}");
    app.stop().await;
}

#[tokio::test]
async fn a_training_is_compared_with_a_file_of_the_commit() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    commit(&repo, "    if: true\n");
    repo.write("ci/ink.json", "{\"loss\": 0.05}");
    let gate = format!("reference: ci/ink.json, {GATE}");
    let (verdict, reason, _) = train(&app, &repo, 1, 40, &gate).await;
    assert_eq!(verdict, "failed");
    let numbers = "gate-loss-within, gate-norm-factor: the mean of the last 1 steps is 0.0250 (-50.0%), that of ci/ink.json is 0.0500, \
                   and 10% of difference are allowed";
    assert_eq!(reason, numbers);
    repo.write("ci/ink.json", "{\"loss\": \"low\"}");
    let (verdict, reason, _) = train(&app, &repo, 2, 40, &gate).await;
    assert!(verdict == "failed" && reason.contains("ci/ink.json is not in the form"), "{reason}");
    app.stop().await;
}
