//! A push to a whole service: its training ends on the Hub, unless it may not.

use std::time::Duration;

use trainyard::domain::{RepoId, Right};

use super::client;
use crate::support::app::App;
use crate::support::chat::ChatServices;
use crate::support::git_host::Repo;
use crate::support::hub::{HubServer, TOKEN};
use crate::support::payload::{self, Delivery};
use crate::support::people;

const TRAINER: &str = include_str!("../../fixtures/trainer/train.py");
const CONFIG: &str = "base_model: ./models/sd.bin\ntrain_data_dir: ./data\nmetadata_path: ./data/captions.txt\n\
                      output_dir: ./out\nlora_rank: 16\nmax_train_steps: 40\nlearning_rate: 1.0e-4\n";

/// Commits a training that publishes to this place.
fn commit(repo: &Repo, target: &str, more: &str) -> String {
    repo.write("train.py", TRAINER);
    repo.write("configs/ink.yaml", CONFIG);
    repo.write("models/sd.bin", "a model");
    repo.write("data/captions.txt", "an image");
    let train = format!("{{gpus: 0, if: true, publish: {{huggingface: {target}, license: apache-2.0}}{more}}}");
    repo.write(".travis.yml", &format!("language: python\nlora: {{smoke: false, train: {train}}}\n"));
    repo.commit("Ink")
}

async fn push(app: &App, repo: &Repo, sha: &str) -> (String, String) {
    Delivery::new(sha, "push", &payload::push(&app.github, repo, "main")).post(&app.base).await;
    let end = app.github.wait_for_end(sha, "trainyard/push").await;
    (end.state, end.description)
}

/// Waits for the end of the only publication. Returns its state.
async fn ended(app: &App) -> String {
    for _ in 0..600 {
        let state: Option<String> = sqlx::query_scalar("select state::text from publication where done_at is not null")
            .fetch_optional(&app.db)
            .await
            .unwrap();
        if let Some(state) = state {
            return state;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the publication does not end");
}

#[tokio::test]
async fn a_push_trains_and_publishes_what_the_official_client_then_loads() {
    let hub = HubServer::start().await;
    let app = App::start(&hub.section()).await;
    let repo = app.github.repo("acme/styles");
    let sha = commit(&repo, "acme/ink", "");
    assert_eq!(push(&app, &repo, &sha).await.0, "success", "{}", String::from_utf8_lossy(&app.log(1).await));
    assert_eq!(ended(&app).await, "published");
    let repository = hub.repository("acme/ink").unwrap();
    let titles: Vec<&str> = repository.commits.iter().map(|commit| commit.title.as_str()).collect();
    assert_eq!(titles, ["initial commit", "Weights of acme/styles build 1, job 1"]);
    assert!(repository.last().message.contains(&format!("Commit: {sha}\n")), "{}", repository.last().message);
    let found = client::read(&hub.endpoint(), "acme/ink", "build-1", "acme/copy").await;
    let (_, artifacts) = app.get("/api/v1/jobs/1/artifacts").await;
    for name in ["pytorch_lora_weights.safetensors", "provenance.json", "provenance.intoto.jsonl"] {
        let hash = found["hashes"][name].as_str().unwrap();
        assert!(artifacts.contains(hash), "{name}: {artifacts}");
    }
    let card = String::from_utf8(repository.last().tree["README.md"].bytes.to_vec()).unwrap();
    assert!(card.contains(&sha) && card.contains("## Gates") && card.contains("lowest"), "{card}");
    let (_, page) = app.get("/acme/styles/builds/1/jobs/1").await;
    assert!(page.contains(&format!("href=\"{}/acme/ink/tree/build-1\"", hub.endpoint())), "{page}");
    let log = String::from_utf8(app.log(1).await).unwrap();
    assert!(!log.contains(TOKEN), "the job never sees the token");
    assert_eq!(hub.wrong(), Vec::<String>::new());
    let leaked: i64 = sqlx::query_scalar("select count(*) from job where strpos(job::text, $1) > 0")
        .bind(TOKEN)
        .fetch_one(&app.db)
        .await
        .unwrap();
    assert_eq!(leaked, 0);
    app.stop().await;
}

#[tokio::test]
async fn a_chat_is_asked_for_the_approval_and_gets_the_link() {
    let (hub, services) = (HubServer::start().await, ChatServices::start().await);
    let environment =
        "[[publish.environment]]\nname = 'production'\nrepos = ['acme/*']\napprovers = ['anna']\nrequired = true\n";
    let chats = services.sections(&["slack"], "on_success = 'never'\non_publish = 'always'\n");
    let app = App::start(&format!("{}{environment}{chats}", hub.section())).await;
    let repo = app.github.repo("acme/styles");
    let sha = commit(&repo, "acme/ink", "");
    assert_eq!(push(&app, &repo, &sha).await.0, "success", "{}", String::from_utf8_lossy(&app.log(1).await));
    let asked = services.wait_for("slack", 1).await[0].to_string();
    assert!(asked.contains("/acme/styles/builds/1/jobs/1|… acme/styles #1.1 waits for approval>"), "{asked}");
    assert!(asked.contains("The people of production decide: anna"), "{asked}");
    let anna = people::person(&app.db, 7, "anna").await;
    people::allow(&app.db, anna.id, RepoId(1), Some(Right::Write)).await;
    let token = people::token(&app.db, anna.id, "chat", Right::Write, None).await;
    let path = format!("{}/api/v1/repos/acme/styles/builds/1/jobs/1/publish/approve", app.base);
    let approved = reqwest::Client::new().post(path).bearer_auth(token).send().await.unwrap();
    assert_eq!(approved.status(), 200);
    let told = services.wait_for("slack", 2).await[1].to_string();
    assert!(told.contains("acme/styles #1.1 is published"), "{told}");
    assert!(told.contains(&format!("<{}/acme/ink/tree/build-1|Hugging Face acme/ink>", hub.endpoint())), "{told}");
    let (_, page) = app.get("/acme/styles/builds/1").await;
    assert!(page.contains("publication.approval") && page.contains("publication.published"), "{page}");
    app.stop().await;
}

#[tokio::test]
async fn weights_that_fail_a_gate_are_not_published() {
    let hub = HubServer::start().await;
    let app = App::start(&hub.section()).await;
    let repo = app.github.repo("acme/styles");
    let sha = commit(&repo, "acme/ink", ", gate: {weights: {rank: 8}}");
    assert_eq!(push(&app, &repo, &sha).await.0, "failure");
    assert!(!has_publication(&app).await && hub.trouble.asked().is_empty());
    app.stop().await;
}

#[tokio::test]
async fn a_place_that_is_not_listed_is_an_error_that_says_what_to_do() {
    let hub = HubServer::start().await;
    let app = App::start(&hub.section()).await;
    for (repo, target) in [("acme/styles", "mallory/ink"), ("studio/styles", "acme/ink")] {
        let repo = app.github.repo(repo);
        let sha = commit(&repo, target, "");
        let (state, told) = push(&app, &repo, &sha).await;
        assert!(state == "error" || state == "failure", "{state}: {told}");
        let problem: String =
            sqlx::query_scalar("select message from problem where severity = 'error' order by build_id desc limit 1")
                .fetch_one(&app.db)
                .await
                .unwrap();
        assert!(problem.contains("ask the operator of this server for an entry [[publish.huggingface]]"), "{problem}");
    }
    let jobs: i64 = sqlx::query_scalar("select count(*) from job").fetch_one(&app.db).await.unwrap();
    assert_eq!(jobs, 0);
    assert!(!has_publication(&app).await && hub.trouble.asked().is_empty());
    app.stop().await;
}

#[tokio::test]
async fn a_pull_request_trains_and_publishes_nothing() {
    let hub = HubServer::start().await;
    let app = App::start(&hub.section()).await;
    let repo = app.github.repo("acme/styles");
    let base = repo.commit("Base");
    repo.git(&["checkout", "--quiet", "-b", "watercolour"]);
    let head = commit(&repo, "acme/ink", "");
    repo.git(&["checkout", "--quiet", "main"]);
    repo.open_pull_request(3, &base, &head);
    let mut pull = payload::pull_request(&app.github, &repo, 3, &base, &head);
    pull["pull_request"]["head"]["repo"]["full_name"] = "acme/styles".into();
    Delivery::new("pull", "pull_request", &pull).post(&app.base).await;
    let end = app.github.wait_for_end(&head, "trainyard/pr").await;
    let kinds: Vec<String> = sqlx::query_scalar("select kind::text from job").fetch_all(&app.db).await.unwrap();
    assert_eq!((end.state.as_str(), kinds), ("success", vec!["train".to_owned()]), "{end:?}");
    assert!(!has_publication(&app).await && hub.trouble.asked().is_empty());
    app.stop().await;
}

async fn has_publication(app: &App) -> bool {
    sqlx::query_scalar("select exists (select from publication)").fetch_one(&app.db).await.unwrap()
}
