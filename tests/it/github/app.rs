//! The GitHub App: its tokens are for one repository and one kind of request, and end with the installation.

use std::time::Duration;

use trainyard::domain::RepoName;
use trainyard::github::{Access, Client, GitHubConfig, Holder, SendError, Target};

use super::openapi;
use crate::support::app::App;
use crate::support::github::app::{APP_ID, Key};
use crate::support::github::{GitHub, number};
use crate::support::payload::{self, Delivery};

const HELLO: &str = "language: shell\nscript: echo hello\n";

/// The stand-in, and a client that has nothing but the App.
struct World {
    github: GitHub,
    client: Client,
    folder: tempfile::TempDir,
}

fn name(text: &str) -> RepoName {
    text.parse().unwrap()
}

fn config(github: &GitHub, keys: &[&Key]) -> GitHubConfig {
    let pems: Vec<&str> = keys.iter().map(|key| key.pem.as_str()).collect();
    let mut settings = toml::Table::new();
    settings.insert("api_url".to_owned(), github.api_url().into());
    settings.insert("app_id".to_owned(), toml::Value::Integer(APP_ID.cast_signed()));
    settings.insert("app_private_key".to_owned(), pems.into());
    serde::Deserialize::deserialize(toml::Value::Table(settings)).unwrap()
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let github = GitHub::start(folder.path().to_owned()).await;
        github.app.set_keys(&[Key::first()]);
        github.repo("acme/styles");
        let client = Client::new(&config(&github, &[Key::first()])).unwrap();
        Self { github, client, folder }
    }

    async fn holder(&self, repo: &str) -> Result<Holder, SendError> {
        self.client.holder(Target { repo: &name(repo), number: None }, Access::Contents).await
    }
}

fn said(result: Result<impl std::fmt::Debug, SendError>) -> String {
    match result.unwrap_err() {
        SendError::NoAccess(said) => said,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_token_is_for_one_repository_and_one_kind_of_request() {
    let world = World::new().await;
    world.github.repo("acme/other");
    let id = world.github.app.install(&["acme/styles", "acme/other"]);
    for _ in 0..2 {
        assert_eq!(world.client.repository(&name("acme/styles")).await.unwrap().full_name, "acme/styles");
        assert_eq!(world.holder("acme/styles").await.unwrap(), Holder::Installation(id));
        assert_eq!(world.client.repository(&name("acme/other")).await.unwrap().full_name, "acme/other");
    }
    assert_eq!(world.github.app.minted(), 3, "each is asked for once");
    let tokens: Vec<_> = world.github.app.requests().into_iter().filter(|(method, ..)| method == "POST").collect();
    let bodies: Vec<_> = tokens.into_iter().map(|(.., body)| body).collect();
    assert_eq!(
        bodies,
        [
            serde_json::json!({"permissions": {"metadata": "read"}, "repositories": ["styles"]}),
            serde_json::json!({"permissions": {"contents": "read"}, "repositories": ["styles"]}),
            serde_json::json!({"permissions": {"metadata": "read"}, "repositories": ["other"]}),
        ]
    );
    assert_eq!(world.github.app.misused(), Vec::<String>::new());
}

#[tokio::test]
async fn many_requests_at_once_cause_one_token() {
    let world = World::new().await;
    world.github.app.install(&["acme/styles"]);
    let all = futures::future::join_all((0..20).map(|_| world.holder("acme/styles"))).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    assert_eq!(world.github.app.minted(), 1);
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends() {
    let world = World::new().await;
    world.github.app.install(&["acme/styles"]);
    world.github.app.set_lifetime(Duration::from_secs(3));
    let begin = std::time::Instant::now();
    while begin.elapsed() < Duration::from_secs(7) {
        world.client.repository(&name("acme/styles")).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // A token of three seconds is used for two and a half.
    assert!((3..=4).contains(&world.github.app.minted()), "{}", world.github.app.minted());
    let asked = world.github.app.requests().iter().filter(|(method, ..)| method == "GET").count();
    assert_eq!(asked, 1, "no token was refused, which would have led to the question where the App is installed");
}

#[tokio::test]
async fn a_token_that_was_revoked_is_replaced_at_once() {
    let world = World::new().await;
    world.github.app.install(&["acme/styles"]);
    for tokens in 1..4 {
        world.client.repository(&name("acme/styles")).await.unwrap();
        assert_eq!(world.github.app.minted(), tokens);
        world.github.app.revoke_tokens();
    }
}

#[tokio::test]
async fn an_app_that_is_away_says_so() {
    let world = World::new().await;
    assert_eq!(said(world.holder("acme/styles").await), "the GitHub App is not installed on acme/styles");
    world.client.forget_installations();

    let id = world.github.app.install(&["acme/styles"]);
    world.client.repository(&name("acme/styles")).await.unwrap();
    world.github.app.suspend(id);
    let told = said(world.client.repository(&name("acme/styles")).await);
    assert!(told.contains("suspended for acme/styles since 2026-11-01"), "{told}");

    world.github.app.uninstall(id);
    assert_eq!(
        said(world.client.repository(&name("acme/styles")).await),
        "the GitHub App is not installed on acme/styles"
    );
    world.client.forget_installations();

    world.github.app.install(&["acme/styles"]);
    world.github.app.permit(&[("metadata", "read")]);
    let told = said(world.holder("acme/styles").await);
    assert!(told.contains("is not given contents: read of acme/styles"), "{told}");
}

#[tokio::test]
async fn an_installation_that_ended_is_found_out_with_the_next_token() {
    let world = World::new().await;
    let id = world.github.app.install(&["acme/styles"]);
    world.client.repository(&name("acme/styles")).await.unwrap();
    world.github.app.uninstall(id);
    assert!(said(world.holder("acme/styles").await).contains("is not installed"));
    let again = World { client: Client::new(&config(&world.github, &[Key::first()])).unwrap(), ..world };
    again.github.app.install(&["acme/styles"]);
    again.holder("acme/styles").await.unwrap();
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_corrected_by_githubs() {
    for skew in [-7200, -700, 700, 7200] {
        let world = World::new().await;
        world.github.app.install(&["acme/styles"]);
        world.github.set_clock_skew(skew);
        world.holder("acme/styles").await.unwrap_or_else(|error| panic!("{skew}: {error}"));
        world.client.repository(&name("acme/styles")).await.unwrap();
        assert_eq!(world.github.app.minted(), 2);
        let lookups = world.github.app.requests().iter().filter(|(method, ..)| method == "GET").count();
        assert_eq!(lookups, 2, "{skew}: the first assertion is refused, and no other one");
    }
}

#[tokio::test]
async fn the_next_key_is_tried_when_github_does_not_accept_the_first() {
    let world = World::new().await;
    world.github.app.install(&["acme/styles"]);
    let (old, new) = (Key::generate(), Key::generate());
    let client = Client::new(&config(&world.github, &[&new, &old])).unwrap();
    let styles = name("acme/styles");
    for accepted in [&[&old][..], &[&new, &old], &[&new]] {
        world.github.app.set_keys(accepted);
        client.forget_installations();
        client.repository(&styles).await.unwrap();
    }
    world.github.app.set_keys(&[]);
    client.forget_installations();
    let refused = client.repository(&styles).await.unwrap_err();
    assert!(
        matches!(&refused, SendError::Refused { status: 401, said, .. } if said.contains("key is not accepted")),
        "{refused}"
    );
}

#[tokio::test]
async fn the_personal_token_is_for_repositories_without_the_app() {
    let world = World::new().await;
    world.github.repo("acme/other");
    let id = world.github.app.install(&["acme/styles"]);
    let both = GitHubConfig {
        token: Some(crate::support::github::TOKEN.to_owned().into()),
        ..config(&world.github, &[Key::first()])
    };
    let world = World { client: Client::new(&both).unwrap(), ..world };
    assert_eq!(world.holder("acme/styles").await.unwrap(), Holder::Installation(id));
    for _ in 0..2 {
        assert_eq!(world.holder("acme/other").await.unwrap(), Holder::Person);
        world.client.repository(&name("acme/other")).await.unwrap();
    }
    let asked = world.github.app.requests().iter().filter(|(_, path, _)| path.contains("other")).count();
    assert_eq!(asked, 1, "the answer that the App is not there counts for a while");
}

#[tokio::test]
async fn a_transferred_repository_gives_no_token_for_another_one_of_its_name() {
    let world = World::new().await;
    world.github.repo("bob/styles");
    world.github.rename("acme/styles", "bob/art");
    world.github.app.install(&["bob/styles", "bob/art"]);
    let told = said(world.holder("acme/styles").await);
    assert!(told.contains("GitHub has another repository in place of acme/styles"), "{told}");
    let target = Target { repo: &name("acme/styles"), number: Some(number("acme/styles").into()) };
    world.client.holder(target, Access::Statuses).await.expect("its number stays the same");
    assert_eq!(world.github.app.misused(), Vec::<String>::new());
    drop(world.folder);
}

#[tokio::test]
async fn a_push_is_built_with_the_app_alone() {
    let folder = tempfile::tempdir().unwrap();
    let github = GitHub::start(folder.path().join("github")).await;
    let settings = github.app_settings();
    let app = App::start_in(folder, github, &settings).await;
    let repo = app.github.repo("acme/styles");
    app.github.app.install(&["acme/styles"]);
    repo.write(".travis.yml", HELLO);
    let sha = repo.commit("Hello");
    Delivery::new("d", "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
    assert_eq!(app.github.wait_for_end(&sha, "trainyard/push").await.state, "success");
    // The names, the files and the statuses, each once.
    assert_eq!(app.github.app.minted(), 3);
    let api = openapi::description();
    for (method, path, body) in app.github.app.requests().iter().chain(&app.github.requests()) {
        assert_eq!(openapi::faults(&api, method, path, body), Vec::<String>::new(), "{method} {path} {body}");
    }
    assert!(
        !openapi::faults(&api, "POST", "/app/installations/1/access_tokens", &serde_json::json!({"a": 1})).is_empty()
    );
    app.stop().await;
}

#[tokio::test]
async fn a_revoked_token_delays_a_fetch_and_does_not_fail_it() {
    let folder = tempfile::tempdir().unwrap();
    let github = GitHub::start(folder.path().join("github")).await;
    let settings = github.app_settings();
    let app = App::start_in(folder, github, &settings).await;
    let repo = app.github.repo("acme/styles");
    app.github.app.install(&["acme/styles"]);
    repo.write(".travis.yml", HELLO);
    for round in ["first", "second"] {
        repo.write("round.txt", round);
        let sha = repo.commit(round);
        Delivery::new(round, "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
        assert_eq!(app.github.wait_for_end(&sha, "trainyard/push").await.state, "success", "{round}");
        app.github.app.revoke_tokens();
    }
    app.stop().await;
}
