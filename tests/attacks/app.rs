//! Attacks with or on the GitHub App: deliveries for repositories without it, its tokens, and its key.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trainyard::domain::BuildId;
use trainyard::store::queue;

use crate::support::app::{App, configuration, merged};
use crate::support::github::GitHub;
use crate::support::github::app::{ASSERTION_PREFIX, Key, TOKEN_PREFIX};
use crate::support::payload::{self, Delivery};
use crate::support::service::Service;

const HELLO: &str = "language: shell\nscript: echo hello\n";

async fn start() -> App {
    let folder = tempfile::tempdir().unwrap();
    let github = GitHub::start(folder.path().join("github")).await;
    let settings = github.app_settings();
    App::start_in(folder, github, &settings).await
}

async fn builds(app: &App) -> i64 {
    sqlx::query_scalar("select count(*) from build").fetch_one(&app.db).await.unwrap()
}

#[tokio::test]
async fn a_delivery_for_a_repository_without_the_app_fetches_and_builds_nothing() {
    let app = start().await;
    let repo = app.github.repo("acme/styles");
    app.github.repo("acme/other");
    app.github.app.install(&["acme/other"]);
    repo.write(".travis.yml", HELLO);
    repo.commit("Hello");
    Delivery::new("d", "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
    let outcome = app.outcome("d").await;
    assert!(outcome.contains("the GitHub App is not installed on acme/styles"), "{outcome}");
    assert_eq!((builds(&app).await, app.github.app.minted()), (0, 0));
    assert_eq!(app.github.git.saw_token("acme/styles"), None, "git asked for the repository");
    app.stop().await;
}

#[tokio::test]
async fn an_import_of_a_repository_without_the_app_gets_no_token() {
    let app = start().await;
    let (repo, other) = (app.github.repo("acme/styles"), app.github.repo("acme/private"));
    other.write("ci.yml", HELLO);
    other.commit("Begin");
    app.github.app.install(&["acme/styles"]);
    repo.write(".travis.yml", "import: acme/private:ci.yml\n");
    let sha = repo.commit("Read what is not ours");
    Delivery::new("d", "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
    let end = app.github.wait_for_end(&sha, "trainyard/push").await;
    assert!(end.state == "error" && end.description.contains("acme/private"), "{end:?}");
    assert_eq!(app.github.git.saw_token("acme/private"), Some(false));
    app.stop().await;
}

fn installation(action: &str) -> Value {
    json!({"action": action, "installation": {"id": 90_000, "account": {"login": "acme"}}, "sender": {"login": "ada"}})
}

#[tokio::test]
async fn only_the_webhook_of_all_repositories_speaks_for_the_app() {
    let folder = tempfile::tempdir().unwrap();
    let github = GitHub::start(folder.path().join("github")).await;
    let settings = format!("{}webhook_secrets = {{ acme = 'of acme alone' }}\n", github.app_settings());
    let app = App::start_in(folder, github, &settings).await;
    let forged = Delivery::signed("of acme alone", "forged", "installation", &installation("created"));
    assert_eq!(forged.post_to(&app.base, "/acme").await.0, 202);
    let told = app.outcome("forged").await;
    assert!(told.contains("signed with a secret of acme"), "{told}");
    Delivery::new("real", "installation", &installation("created")).post(&app.base).await;
    let told = app.outcome("real").await;
    assert!(told.contains("installation created for acme") && told.contains("GitHub is asked again"), "{told}");
    app.stop().await;
}

#[tokio::test]
async fn an_installation_that_comes_back_shows_its_statuses_at_once() {
    let app = start().await;
    let repo = app.github.repo("acme/styles");
    let id = app.github.app.install(&["acme/styles"]);
    repo.write(".travis.yml", "language: shell\nscript: sleep 60\n");
    let sha = repo.commit("Hello");
    Delivery::new("d", "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
    app.github.wait_for(Duration::from_secs(60), |posted| posted.sha == sha && posted.state == "pending").await;
    app.github.app.uninstall(id);
    let mut tx = app.db.begin().await.unwrap();
    queue::cancel_build(&mut tx, BuildId(1), "canceled by ada").await.unwrap();
    tx.commit().await.unwrap();
    let begin = Instant::now();
    let alert = "select message from alert where component = 'github acme/styles'";
    let message = loop {
        let found: Option<String> = sqlx::query_scalar(alert).fetch_optional(&app.db).await.unwrap();
        if let Some(message) = found {
            break message;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "there is no alert");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(message.contains("the GitHub App is not installed on acme/styles"), "{message}");
    app.github.app.install(&["acme/styles"]);
    Delivery::new("back", "installation", &installation("created")).post(&app.base).await;
    let end = app.github.wait_for_end(&sha, "trainyard/push").await;
    assert_eq!(end.state, "error", "{end:?}");
    app.stop().await;
}

#[tokio::test]
async fn the_apps_secrets_are_on_no_page_and_in_no_message() {
    let folder = tempfile::tempdir().unwrap();
    let github = GitHub::start(folder.path().join("github")).await;
    let url = crate::support::database::url().await;
    let settings = format!("{}timeout = '2s'\n", github.app_settings());
    let text = merged(&configuration(&folder.path().join("data"), Some(&url), &github), &settings);
    let text = merged(&text, "[telemetry]\nfilter = 'trace'\n");
    let file = folder.path().join("config.toml");
    std::fs::write(&file, text).unwrap();
    let service = Service::start(env!("CARGO_BIN_EXE_trainyard").as_ref(), &file);
    let repo = github.repo("acme/styles");
    github.app.install(&["acme/styles"]);
    repo.write(".travis.yml", HELLO);
    let sha = repo.commit("Hello");
    let base = service.base.clone();
    Delivery::new("d", "push", &payload::push(&github, &repo, "main")).post(&base).await;
    github.wait_for_end(&sha, "trainyard/push").await;
    // Refusals have messages of their own.
    github.app.set_keys(&[]);
    github.app.revoke_tokens();
    let other = repo.commit("Refused");
    Delivery::new("e", "push", &payload::push(&github, &repo, "main")).post(&base).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut texts = vec![service.said()];
    for path in
        ["/", "/acme/styles", "/acme/styles/builds/1", "/runners", "/readyz", "/api/v1/repos/acme/styles/builds"]
    {
        texts.push(reqwest::get(format!("{base}{path}")).await.unwrap().text().await.unwrap());
    }
    for text in texts {
        for secret in [Key::first().line(), TOKEN_PREFIX, ASSERTION_PREFIX] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
    assert!(github.states(&other, "trainyard/push").is_empty(), "the key is not accepted any more");
    service.interrupt();
}
