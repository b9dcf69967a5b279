//! Repositories on a Gitea server, beside those on GitHub.

use trainyard::github::{Client, ForgeConfig, GitHubConfig, GitHubUser, Target};
use trainyard::intake::{CHECK_INTERVAL, DeliveryLogs, HiddenHooks, Said};
use trainyard::store::repos;

use crate::support::app::App;
use crate::support::database;
use crate::support::gitea::{self, Gitea, SECRET};
use crate::support::github::GitHub;
use crate::support::payload::{self, Delivery};

const HELLO: &str = "language: shell\nscript:\n  - echo hello from the yard\n  - git log --format=%s -1\n  - ls\n";

/// A service with GitHub and with a Gitea that has the owner `studio`.
async fn start() -> (App, Gitea) {
    let folder = tempfile::tempdir().unwrap();
    let gitea = Gitea::start(folder.path().join("gitea")).await;
    let github = GitHub::start(folder.path().join("github")).await;
    let change = gitea.section(&["studio"]);
    (App::start_in(folder, github, &change).await, gitea)
}

#[tokio::test]
async fn a_push_ends_in_success_whatever_the_form_of_its_webhook() {
    let (app, gitea) = start().await;
    let repo = gitea.repo("studio/styles");
    for (message, is_form) in [("Say hello", false), ("Say it in a form", true)] {
        repo.write(".travis.yml", HELLO);
        let sha = repo.commit(message);
        let (code, answer) =
            gitea::deliver(&app.base, "git", SECRET, "push", &gitea.push(&repo, "main"), is_form).await;
        assert_eq!(code, 202, "{answer}");
        let end = gitea.wait_for_end(&sha, "trainyard/push").await;
        assert_eq!((end.state.as_str(), end.repo.as_str()), ("success", "studio/styles"), "{end:?}");
    }
    assert!(app.github.posted().is_empty(), "nothing of it concerns GitHub");
    app.stop().await;
}

#[tokio::test]
async fn tags_are_built_and_what_is_removed_is_not() {
    let (app, gitea) = start().await;
    let repo = gitea.repo("studio/styles");
    repo.write(".travis.yml", HELLO);
    let sha = repo.commit("Say hello");
    repo.git(&["tag", "-a", "v1", "-m", "first"]);
    repo.git(&["push", "--quiet", "origin", "v1"]);
    let mut payload = gitea.push(&repo, "main");
    payload["ref"] = "refs/tags/v1".into();
    payload["after"] = repo.git(&["rev-parse", "v1"]).into();
    gitea::deliver(&app.base, "git", SECRET, "push", &payload, false).await;
    assert_eq!(gitea.wait_for_end(&sha, "trainyard/push").await.state, "success");
    payload["after"] = "0".repeat(40).into();
    payload["head_commit"] = serde_json::Value::Null;
    gitea::deliver(&app.base, "git", SECRET, "push", &payload, false).await;
    let outcome = app.outcome(&format!("forge-git-f6266f16-{}", "0".repeat(40))).await;
    assert_eq!(outcome, "refs/tags/v1 was deleted");
    app.stop().await;
}

#[tokio::test]
async fn a_pull_request_is_merged_here_with_the_base_as_it_is_now() {
    let (app, gitea) = start().await;
    let repo = gitea.repo("studio/styles");
    repo.write(".travis.yml", HELLO);
    repo.commit("Say hello");
    repo.git(&["checkout", "--quiet", "-b", "watercolour"]);
    repo.write("style.txt", "watercolour\n");
    let head = repo.commit("Paint");
    let payload = gitea.pull_request(&repo, 5, "studio/styles", "opened");
    repo.git(&["checkout", "--quiet", "main"]);
    repo.write("later.txt", "the base has moved on\n");
    let base = repo.commit("Go on");
    gitea::deliver(&app.base, "git", SECRET, "pull_request", &payload, false).await;
    let end = gitea.wait_for_end(&head, "trainyard/pr").await;
    assert_eq!(end.state, "success", "{end:?}");
    let log = String::from_utf8(app.log(1).await).unwrap();
    assert!(log.contains("later.txt") && log.contains("style.txt") && log.contains("Merge pull request #5"), "{log}");
    let (built, before): (String, String) =
        sqlx::query_as("select built_sha, before_sha from build").fetch_one(&app.db).await.unwrap();
    assert_eq!(before, base);

    // Another machine makes the same commit.
    let mirrors = crate::support::git_host::mirrors(app.folder.path().join("other"));
    let (name, url) = ("studio/styles".parse().unwrap(), format!("http://{}/studio/styles.git", gitea.address));
    let (url, token) = (url::Url::parse(&url).unwrap(), gitea::TOKEN.to_owned().into());
    let credentials = trainyard::git::Credentials { origin: url.origin(), token };
    let remote = trainyard::git::Remote { repo: &name, url: &url, credentials: Some(&credentials) };
    let (base, head) = (base.parse().unwrap(), head.parse().unwrap());
    let proposal = trainyard::git::Proposal { number: 5, base: &base, head: &head };
    let again = mirrors.merge(&remote, proposal).await.unwrap().unwrap();
    assert_eq!(again.as_str(), built);
    app.stop().await;
}

#[tokio::test]
async fn a_pull_request_with_conflicts_says_so() {
    let (app, gitea) = start().await;
    let repo = gitea.repo("studio/styles");
    repo.write(".travis.yml", HELLO);
    repo.write("style.txt", "one\n");
    repo.commit("Say hello");
    repo.git(&["checkout", "--quiet", "-b", "watercolour"]);
    repo.write("style.txt", "watercolour\n");
    let head = repo.commit("Paint");
    let payload = gitea.pull_request(&repo, 6, "studio/styles", "synchronized");
    repo.git(&["checkout", "--quiet", "main"]);
    repo.write("style.txt", "oil\n");
    repo.commit("Paint differently");
    gitea::deliver(&app.base, "git", SECRET, "pull_request", &payload, false).await;
    let outcome = app.outcome("forge-git-f6266f16-synchronized").await;
    assert_eq!(outcome, "studio/styles#1");
    let end = gitea.wait_for_end(&head, "trainyard/pr").await;
    assert_eq!(end.state, "error", "{end:?}");
    let (_, page) = app.get("/studio/styles/builds/1").await;
    assert!(page.contains("pull request #6 has conflicts with its base"), "{page}");
    app.stop().await;
}

#[tokio::test]
async fn a_webhook_speaks_for_the_owners_of_its_server_only() {
    let (app, gitea) = start().await;
    let repo = gitea.repo("studio/styles");
    repo.write(".travis.yml", HELLO);
    repo.commit("Say hello");
    let good = gitea.push(&repo, "main");
    for (forge, secret) in [("git", "another secret"), ("git", crate::support::github::SECRET), ("other", SECRET)] {
        let (code, answer) = gitea::deliver(&app.base, forge, secret, "push", &good, false).await;
        assert_eq!(code, 401, "{forge}: {answer}");
    }
    // A repository of GitHub in a webhook of Gitea, and the other way round.
    let there = app.github.repo("acme/styles");
    there.write(".travis.yml", HELLO);
    there.commit("Say hello");
    let mut foreign = payload::push(&app.github, &there, "main");
    foreign["after"] = there.head().into();
    gitea::deliver(&app.base, "git", SECRET, "push", &foreign, false).await;
    let outcome = app.outcome(&format!("forge-git-f6266f16-{}", there.head())).await;
    assert!(outcome.contains("acme is not among the owners of the forge git"), "{outcome}");
    Delivery::new("d-1", "push", &good).post(&app.base).await;
    let outcome = app.outcome("d-1").await;
    assert!(outcome.contains("the repositories of studio are on git"), "{outcome}");
    let builds: i64 = sqlx::query_scalar("select count(*) from build").fetch_one(&app.db).await.unwrap();
    assert_eq!(builds, 0);
    app.stop().await;
}

#[tokio::test]
async fn repositories_with_the_same_number_stay_apart_and_one_server_holds_up_no_other() {
    let (app, gitea) = start().await;
    let (here, there) = (gitea.repo("studio/styles"), app.github.repo("acme/styles"));
    for repo in [&here, &there] {
        repo.write(".travis.yml", HELLO);
        repo.commit("Say hello");
    }
    let pushed = payload::push(&app.github, &there, "main");
    gitea::deliver(&app.base, "git", SECRET, "push", &gitea.push(&here, "main"), false).await;
    assert_eq!(gitea.wait_for_end(&here.head(), "trainyard/push").await.state, "success");
    let number = i64::from(gitea::NUMBER);
    // Commands and webhooks of GitHub name repositories by number.
    assert_eq!(repos::numbered(&app.db, number).await.unwrap(), None);
    sqlx::query("insert into repo (github_id, owner, name, private, default_branch, clone_url) values ($1, 'x', 'y', false, 'main', '')")
        .bind(i64::from(gitea::NUMBER))
        .execute(&app.db)
        .await
        .unwrap();
    // While Gitea is away, GitHub gets its statuses.
    gitea.set_away(true);
    sqlx::query("update wish set wanted_seq = wanted_seq + 1").execute(&app.db).await.unwrap();
    Delivery::new("d-1", "push", &pushed).post(&app.base).await;
    assert_eq!(app.github.wait_for_end(&there.head(), "trainyard/push").await.state, "success");
    let rows: Vec<(String, i64, String)> =
        sqlx::query_as("select forge, github_id, owner from repo order by id").fetch_all(&app.db).await.unwrap();
    let one = i64::from(gitea::NUMBER);
    assert_eq!(rows[..2], [("git".into(), one, "studio".into()), ("github".into(), one, "x".into())]);
    let alert: Option<String> = sqlx::query_scalar("select message from alert where component = 'forge git'")
        .fetch_optional(&app.db)
        .await
        .unwrap();
    assert!(alert.as_ref().is_some_and(|message| message.contains("Gitea answered 503")), "{alert:?}");
    app.stop().await;
}

/// Returns a client of GitHub and of this server, which has the owner `studio`.
fn client(gitea: &Gitea) -> Client {
    let section: toml::Table = toml::from_str(&gitea.section(&["studio"])).unwrap();
    let forge: ForgeConfig = section["forge"][0].clone().try_into().unwrap();
    let token = Some("a token".to_owned().into());
    Client::new(&GitHubConfig { token, ..GitHubConfig::default() }).unwrap().with_forges(&[forge]).unwrap()
}

#[tokio::test]
async fn a_person_of_github_has_no_right_in_a_repository_of_gitea() {
    let folder = tempfile::tempdir().unwrap();
    let gitea = Gitea::start(folder.path().join("gitea")).await;
    // Nobody is asked: another person may have this login and number there.
    gitea.set_away(true);
    let (repo, user) = ("studio/styles".parse().unwrap(), GitHubUser { id: 1, login: "ada".to_owned() });
    let target = Target { repo: &repo, number: Some(gitea::NUMBER.into()) };
    assert_eq!(client(&gitea).permission(target, &user).await.unwrap(), None);
}

#[tokio::test]
async fn a_server_that_is_away_does_not_end_the_reading_of_githubs_logs() {
    let (db, folder) = (database::pool().await, tempfile::tempdir().unwrap());
    let gitea = Gitea::start(folder.path().join("gitea")).await;
    gitea.set_away(true);
    database::insert_build(&db, 1).await;
    sqlx::query("update repo set owner = 'studio', forge = 'git'").execute(&db).await.unwrap();
    let public_url = "https://ci.example.org".parse().unwrap();
    let (said, hidden) = (Said::default(), HiddenHooks::default());
    let logs = DeliveryLogs { db, github: client(&gitea), public_url, said, hidden };
    assert_eq!(logs.read_all().await.unwrap(), (0, CHECK_INTERVAL), "it is not read again soon");
}
