//! Attacks by authors of pull requests from forks: code that runs although nobody has approved it.

use std::time::Duration;

use serde_json::{Value, json};
use trainyard::store::queue;

use crate::support::app::App;
use crate::support::git_host::Repo;
use crate::support::payload::{self, Delivery};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const ANNA: &str = "[auth]\ntokens = {anna = '0123456789abcdef0123456789abcdef'}\n";
/// A stranger's file: it asks for what only the configuration can give.
const STRANGE: &str = "language: shell\nforks: run\napproved: true\n\
                       script: echo secrets=$TRAVIS_SECURE_ENV_VARS\n";

/// Returns a service that leaves forks to the defaults, with a repository.
async fn service(change: &str) -> (App, Repo) {
    let app = App::start(&format!("{ANNA}{change}")).await;
    let repo = app.github.repo("acme/styles");
    repo.write(".travis.yml", "language: shell\nscript: echo base\n");
    repo.write(
        "configs/style.yaml",
        "base_model: x\ntrain_data_dir: ./data\nlora_rank: 8\noutput_dir: out\nepochs: 1\n",
    );
    repo.commit("Begin");
    (app, repo)
}

/// Commits a stranger's change to pull request #7 and delivers it. Returns its commit.
async fn proposed(app: &App, repo: &Repo, id: &str, change: impl FnOnce(&mut Value)) -> String {
    proposed_with(app, repo, id, STRANGE, change).await
}

async fn proposed_with(app: &App, repo: &Repo, id: &str, travis: &str, change: impl FnOnce(&mut Value)) -> String {
    let base = repo.head();
    repo.git(&["checkout", "-q", "-B", "watercolour"]);
    repo.write(".travis.yml", travis);
    repo.write("change", id);
    let head = repo.commit(id);
    repo.git(&["checkout", "-q", "main"]);
    repo.open_pull_request(7, &base, &head);
    let mut payload = payload::pull_request(&app.github, repo, 7, &base, &head);
    change(&mut payload);
    assert_eq!(Delivery::new(id, "pull_request", &payload).post(&app.base).await.0, 202);
    head
}

async fn wait_for_text(app: &App, sha: &str, text: &str) {
    app.github.wait_for(Duration::from_secs(30), |it| it.sha == sha && it.description.contains(text)).await;
}

async fn approve(app: &App, build: i32, token: Option<&str>) -> (u16, Value) {
    change(app, build, "approve", token).await
}

async fn change(app: &App, build: i32, what: &str, token: Option<&str>) -> (u16, Value) {
    let mut request =
        reqwest::Client::new().post(format!("{}/api/v1/repos/acme/styles/builds/{build}/{what}", app.base));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// Returns the states of the jobs of a build, with the number of their attempts.
async fn jobs(app: &App, build: i32) -> Vec<(String, i32)> {
    sqlx::query_as(
        "select job.state::text, attempt from job join build on build.id = build_id where build.number = $1
         order by job.number",
    )
    .bind(build)
    .fetch_all(&app.db)
    .await
    .unwrap()
}

#[tokio::test]
async fn a_strangers_code_waits_for_a_person() {
    let (app, repo) = service("[forks]\npolicy = 'approve'\n").await;
    let sha = proposed(&app, &repo, "first", |_| {}).await;
    wait_for_text(&app, &sha, "until a person approves this commit").await;
    // The lint executes nothing, so it needs no approval.
    app.github.wait_for(Duration::from_secs(30), |it| it.sha == sha && it.context == "trainyard/lint").await;
    for token in [None, Some("wrong"), Some("")] {
        assert_eq!(approve(&app, 1, token).await.0, 401);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(jobs(&app, 1).await.iter().all(|job| *job == ("waiting".to_owned(), 0)), "{:?}", jobs(&app, 1).await);
    let page = app.get("/acme/styles/builds/1").await.1;
    assert!(page.contains("needs approval") && page.contains("data-approve="), "{page}");

    assert_eq!(approve(&app, 1, Some(TOKEN)).await, (200, json!({"approved": sha})));
    assert_eq!(app.github.wait_for_end(&sha, "trainyard/pr").await.state, "success");
    let log = String::from_utf8(app.log(1).await).unwrap();
    assert!(log.contains("secrets=false"), "{log}");
    let page = app.get("/acme/styles/builds/1").await.1;
    assert!(page.contains("<dt>Approved by</dt><dd>anna</dd>") && !page.contains("data-approve="), "{page}");
    let (code, why) = approve(&app, 1, Some(TOKEN)).await;
    assert!(code == 409 && why["error"].as_str().unwrap().contains("approved by anna already"), "{code} {why}");

    // The next push needs its own approval, and an approval of the older build does not help it.
    let second = proposed(&app, &repo, "second", |payload| payload["action"] = json!("synchronize")).await;
    wait_for_text(&app, &second, "until a person approves this commit").await;
    assert_eq!(approve(&app, 1, Some(TOKEN)).await.0, 409);
    let third = proposed(&app, &repo, "third", |payload| payload["action"] = json!("synchronize")).await;
    wait_for_text(&app, &third, "until a person approves this commit").await;
    wait_for_text(&app, &second, "build #3 of pull request #7 is newer").await;
    let (code, why) = approve(&app, 2, Some(TOKEN)).await;
    assert!(code == 409 && why["error"].as_str().unwrap().contains("has ended"), "{code} {why}");
    assert!(jobs(&app, 2).await.iter().chain(&jobs(&app, 3).await).all(|(_, attempts)| *attempts == 0));
    app.stop().await;
}

#[tokio::test]
async fn no_name_makes_a_stranger_trusted() {
    let (app, repo) = service("[forks]\npolicy = 'approve'\n").await;
    type Change = fn(&mut Value);
    let disguises: [(&str, Change); 6] = [
        ("an-author-of-the-team", |it| it["pull_request"]["user"]["login"] = json!("acme")),
        ("a-sender-of-the-team", |it| it["sender"] = json!({"login": "acme", "id": 1})),
        ("a-deleted-fork", |it| it["pull_request"]["head"]["repo"] = Value::Null),
        ("a-fork-of-the-same-name", |it| it["pull_request"]["head"]["repo"] = json!({"full_name": "bob/acme-styles"})),
        ("a-branch-like-the-default-one", |it| it["pull_request"]["head"]["ref"] = json!("main")),
        ("another-base", |it| {
            it["action"] = json!("edited");
            it["changes"] = json!({"base": {"ref": {"from": "release"}}});
        }),
    ];
    for (number, (id, change)) in (1..).zip(disguises) {
        let sha = proposed(&app, &repo, id, change).await;
        wait_for_text(&app, &sha, "until a person approves this commit").await;
        assert!(jobs(&app, number).await.iter().all(|(_, attempts)| *attempts == 0), "{id}");
    }
    // A new title is no reason for a build.
    proposed(&app, &repo, "retitled", |it| {
        it["action"] = json!("edited");
        it["changes"] = json!({"title": {"from": "Train"}});
    })
    .await;
    let outcome = app.outcome("retitled").await;
    assert_eq!(outcome, "pull request edited");
    app.stop().await;
}

#[tokio::test]
async fn forks_that_are_not_wanted_have_no_builds_and_others_run_at_once() {
    let (app, repo) = service("[forks]\npolicy = 'run'\nrepositories = {ACME = 'never'}\n").await;
    proposed(&app, &repo, "never", |_| {}).await;
    let outcome = app.outcome("never").await;
    assert!(outcome.contains("pull requests from forks are not built"), "{outcome}");
    // A branch of the repository itself is its own team's.
    let own = proposed(&app, &repo, "own", |it| {
        it["pull_request"]["head"]["repo"] = json!({"full_name": "Acme/Styles"});
    })
    .await;
    assert_eq!(app.github.wait_for_end(&own, "trainyard/pr").await.state, "success");
    app.stop().await;
}

#[tokio::test]
async fn a_build_that_nobody_approves_ends() {
    let (app, repo) = service("[forks]\npolicy = 'approve'\n").await;
    let sha = proposed(&app, &repo, "old", |_| {}).await;
    wait_for_text(&app, &sha, "until a person approves this commit").await;
    let month = Duration::from_secs(30 * 24 * 3600);
    assert_eq!(queue::cancel_unapproved(&app.db, month).await.unwrap(), 0);
    sqlx::query("update build set created_at = now() - interval '31 days'").execute(&app.db).await.unwrap();
    assert_eq!(queue::cancel_unapproved(&app.db, month).await.unwrap(), 1);
    wait_for_text(&app, &sha, "nobody approved it within 30 days").await;
    assert_eq!(approve(&app, 1, Some(TOKEN)).await.0, 409);
    // A restart is no approval: nobody has looked at the commit.
    assert_eq!(change(&app, 1, "restart", Some(TOKEN)).await.0, 200);
    wait_for_text(&app, &sha, "until a person approves this commit").await;
    assert!(jobs(&app, 1).await.iter().all(|job| *job == ("waiting".to_owned(), 0)), "{:?}", jobs(&app, 1).await);
    assert_eq!(approve(&app, 1, Some(TOKEN)).await.0, 200);
    wait_for_text(&app, &sha, "passed: 1 job").await;
    app.stop().await;
}

#[tokio::test]
async fn a_stage_that_may_fail_opens_no_way_around_the_approval() {
    let (app, repo) = service("[forks]\npolicy = 'approve'\n").await;
    let staged = "language: shell\njobs:\n  include:\n    - {stage: one, name: a, script: echo a}\n    \
                  - {stage: two, name: b, script: echo b}\n  allow_failures: [{name: a}]\n";
    let sha = proposed_with(&app, &repo, "staged", staged, |_| {}).await;
    wait_for_text(&app, &sha, "2 jobs wait until a person approves").await;
    assert_eq!(change(&app, 1, "jobs/1/cancel", Some(TOKEN)).await, (200, json!({"canceled": 1})));
    wait_for_text(&app, &sha, "1 job waits until a person approves").await;
    assert_eq!(jobs(&app, 1).await, [("finished".to_owned(), 0), ("waiting".to_owned(), 0)]);
    assert!(app.get("/acme/styles/builds/1").await.1.contains("data-approve="));
    assert_eq!(approve(&app, 1, Some(TOKEN)).await.0, 200);
    assert_eq!(app.github.wait_for_end(&sha, "trainyard/pr").await.state, "success");
    assert_eq!(jobs(&app, 1).await, [("finished".to_owned(), 0), ("finished".to_owned(), 1)]);
    app.stop().await;
}
