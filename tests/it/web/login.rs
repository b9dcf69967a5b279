//! Logins and what follows from them: with GitHub, and with a local user's password.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use thirtyfour::prelude::*;
use trainyard::domain::{JobKind, RepoId, Right, Scope, Trigger, Verdict};
use trainyard::store::people::{permissions, persons};
use trainyard::web;

use super::browser::Browser;
use crate::support::app::App;
use crate::support::github::{GitHub, number};
use crate::support::people::visitor::Visitor;
use crate::support::web::{self as support};
use crate::support::{database, people};

const PASSWORD: &str = "correct horse battery";

/// Starts a service that logs people in with GitHub.
async fn with_github() -> App {
    let folder = tempfile::tempdir().unwrap();
    let github = GitHub::start(folder.path().join("github")).await;
    let settings = github.login_settings();
    let app = App::start_in(folder, github, &format!("{settings}[auth]\nadmins = ['olga']\n")).await;
    // The service has its tables by the time that it answers.
    app.get("/healthz").await;
    app
}

/// Starts a service where nobody can log in yet.
async fn open() -> App {
    let app = App::start("").await;
    app.get("/healthz").await;
    app
}

/// Stores a private repository with a finished build.
async fn private(app: &App, name: &'static str) -> RepoId {
    let repo = support::repo_named(&app.db, number(name).into(), name, true).await;
    let trigger = Trigger { repo: name.parse().unwrap(), ..support::push("main") };
    let new = trainyard::store::builds::NewBuild {
        delivery: None,
        repo,
        trigger: &trigger,
        built_sha: &trigger.sha,
        jobs: &[],
        problems: &[],
        decided: Some(trainyard::domain::BuildState::Passed),
        webhooks: None,
        chats: &[],
        scope: Scope::Commit,
        lines: &[],
        fast_finish: false,
        linted: false,
        needs_approval: false,
        cancels: None,
    };
    trainyard::store::builds::create(&mut app.db.acquire().await.unwrap(), &new).await.unwrap();
    repo
}

/// Makes all answers of GitHub this old.
async fn age(app: &App, minutes: i32) {
    sqlx::query("update permission set checked_at = now() - make_interval(mins => $1)")
        .bind(minutes)
        .execute(&app.db)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_person_logs_in_with_github_and_reads_what_github_lets_them() {
    let app = with_github().await;
    private(&app, "acme/secret").await;
    private(&app, "acme/other").await;
    app.github.people.allow("acme/secret", "anna", "write");
    let anna = Visitor::new(&app.base);
    assert_eq!(anna.status("/acme/secret").await, 404);
    assert!(anna.text("/acme/secret").await.contains("href=\"/login"));
    assert!(!anna.text("/").await.contains("acme/secret"));

    app.github.people.log_in(Some("anna"));
    let back = anna.log_in_with_github("/acme/secret?branch=main").await;
    assert_eq!(
        (back.status().as_u16(), &back.headers()["location"]),
        (303, &"/acme/secret?branch=main".parse().unwrap())
    );
    assert_eq!(anna.status("/acme/secret").await, 200);
    assert_eq!(anna.status("/acme/other").await, 404);
    let home = anna.text("/").await;
    assert!(home.contains("acme/secret") && !home.contains("acme/other") && home.contains(">anna<"), "{home}");
    assert_eq!(anna.status("/audit").await, 403);

    // GitHub is asked again after some minutes.
    let asked = app.github.people.asked().len();
    age(&app, 10).await;
    assert_eq!(anna.status("/acme/secret").await, 200);
    assert_eq!(anna.status("/acme/secret").await, 200);
    assert_eq!(app.github.people.asked()[asked..].iter().filter(|it| it.0 == "acme/secret").count(), 1);
    // While it does not answer, its last answer counts for an hour.
    app.github.people.keep_away(true);
    age(&app, 10).await;
    assert_eq!(anna.status("/acme/secret").await, 200);
    age(&app, 61).await;
    let refused = anna.get("/acme/secret").await;
    assert_eq!(refused.status().as_u16(), 503);
    assert!(refused.text().await.unwrap().contains("GitHub does not answer the question"));
    assert!(!anna.text("/").await.contains("acme/secret"));
    app.github.people.keep_away(false);
    assert_eq!(anna.status("/acme/secret").await, 200);
    // A right that is gone at GitHub is gone here.
    app.github.people.allow("acme/secret", "anna", "none");
    age(&app, 10).await;
    assert_eq!(anna.status("/acme/secret").await, 404);

    let csrf = anna.csrf("/").await;
    assert_eq!(anna.post("/logout", &[("csrf", &csrf)]).await.status().as_u16(), 303);
    assert_eq!(anna.cookie("trainyard"), None);
    assert!(anna.text("/").await.contains("href=\"/login"));
    app.stop().await;
}

#[tokio::test]
async fn only_people_with_a_right_log_in_and_operators() {
    let app = with_github().await;
    private(&app, "acme/secret").await;
    app.github.people.log_in(Some("bob"));
    let bob = Visitor::new(&app.base);
    let refused = bob.log_in_with_github("/").await;
    assert_eq!(refused.status().as_u16(), 403);
    assert!(refused.text().await.unwrap().contains("bob has no right in any repository here"));
    assert_eq!(bob.cookies.lock().unwrap().len(), 0);
    // GitHub is not asked again at once.
    let asked = app.github.people.asked().len();
    assert_eq!(bob.log_in_with_github("/").await.status().as_u16(), 403);
    assert_eq!(app.github.people.asked().len(), asked);
    // Somebody who refuses the App at GitHub is told so.
    app.github.people.log_in(None);
    assert!(bob.log_in_with_github("/").await.text().await.unwrap().contains("the login was refused there"));

    app.github.people.log_in(Some("olga"));
    let olga = Visitor::new(&app.base);
    assert_eq!(olga.log_in_with_github("/").await.status().as_u16(), 303);
    assert_eq!(olga.status("/acme/secret").await, 200);
    let audit = olga.text("/audit").await;
    for entry in ["refused login", "log in", "bob", "olga", "127.0.0.1"] {
        assert!(audit.contains(entry), "{entry}: {audit}");
    }
    app.stop().await;
}

#[tokio::test]
async fn a_right_that_github_gives_later_shows_up_by_itself() {
    let app = with_github().await;
    private(&app, "acme/secret").await;
    app.github.people.allow("acme/secret", "anna", "read");
    app.github.people.log_in(Some("anna"));
    let anna = Visitor::new(&app.base);
    assert_eq!(anna.log_in_with_github("/").await.status().as_u16(), 303);
    // A repository that is new here. A request does not ask GitHub: the time would tell that there is one.
    app.github.people.allow("acme/new", "anna", "read");
    private(&app, "acme/new").await;
    let deadline = Instant::now() + Duration::from_secs(30);
    while anna.status("/acme/new").await != 200 {
        assert!(Instant::now() < deadline, "the right does not show up");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // Another person with her login is not her.
    app.github.people.take_over("anna");
    age(&app, 10).await;
    assert_eq!(anna.status("/acme/new").await, 404);
    app.stop().await;
}

#[tokio::test]
async fn a_repository_that_becomes_private_is_hidden() {
    let app = with_github().await;
    let repo = app.github.repo("acme/styles");
    repo.write("README.md", "x");
    repo.commit("Begin");
    support::repo_named(&app.db, number("acme/styles").into(), "acme/styles", false).await;
    let stranger = Visitor::new(&app.base);
    assert_eq!(stranger.status("/acme/styles").await, 200);
    // Somebody has logged in before.
    people::person(&app.db, 1, "anna").await;
    let checked = "select visibility_checked_at is not null and not private from repo";
    let deadline = Instant::now() + Duration::from_secs(30);
    while !sqlx::query_scalar::<_, bool>(checked).fetch_one(&app.db).await.unwrap() {
        assert!(Instant::now() < deadline, "nobody asks GitHub");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    app.github.people.make_private("acme/styles");
    assert_eq!(stranger.status("/acme/styles").await, 200, "GitHub is not asked all the time");
    let due = "update repo set visibility_checked_at = now() - interval '16 minutes'";
    sqlx::query(due).execute(&app.db).await.unwrap();
    while stranger.status("/acme/styles").await != 404 {
        assert!(Instant::now() < deadline, "it stays public");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    app.stop().await;
}

#[tokio::test]
async fn a_local_user_logs_in_with_the_password() {
    let app = open().await;
    let secret = private(&app, "acme/secret").await;
    // Without a login, everyone at the loopback reads everything.
    let stranger = Visitor::new(&app.base);
    assert_eq!((stranger.status("/acme/secret").await, stranger.status("/login").await), (200, 404));
    let hash = trainyard::passwords::hash(&PASSWORD.into()).unwrap();
    assert!(persons::insert_local(&app.db, "Anna", &hash, false).await.unwrap());
    assert!(!persons::insert_local(&app.db, "anna", &hash, false).await.unwrap(), "the name is taken");
    let anna_id = persons::granted(&app.db, "anna", None).await.unwrap().unwrap();
    permissions::grant(&app.db, anna_id, secret, Some(Right::Read)).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while stranger.status("/acme/secret").await != 404 {
        assert!(Instant::now() < deadline, "the service stays open");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let anna = Visitor::new(&app.base);
    let wrong = anna.log_in("anna", "wrong horse battery").await;
    assert_eq!(wrong.status().as_u16(), 401);
    assert!(wrong.text().await.unwrap().contains("The name or the password is wrong."));
    assert_eq!(anna.log_in("anna", PASSWORD).await.status().as_u16(), 303);
    assert_eq!(anna.status("/acme/secret").await, 200);
    // A right to read is none to restart.
    let csrf = anna.csrf("/").await;
    let headers = [("sec-fetch-site", "same-origin"), ("x-csrf-token", csrf.as_str())];
    let restart = anna.post_from("/api/v1/repos/acme/secret/builds/1/restart", &[], &headers).await;
    assert_eq!(restart.status().as_u16(), 403);
    permissions::grant(&app.db, anna_id, secret, Some(Right::Write)).await.unwrap();
    let restart = anna.post_from("/api/v1/repos/acme/secret/builds/1/restart", &[], &headers).await;
    assert_eq!(restart.status().as_u16(), 409, "there is no job");
    // A new password ends the sessions.
    assert!(persons::set_password(&app.db, "ANNA", &hash).await.unwrap());
    assert_eq!(anna.status("/acme/secret").await, 404);
    app.stop().await;
}

#[tokio::test]
async fn a_token_does_what_it_was_made_for() {
    let app = open().await;
    private(&app, "acme/secret").await;
    let hash = trainyard::passwords::hash(&PASSWORD.into()).unwrap();
    persons::insert_local(&app.db, "anna", &hash, true).await.unwrap();
    let anna = Visitor::new(&app.base);
    assert_eq!(anna.log_in("anna", PASSWORD).await.status().as_u16(), 303);
    let csrf = anna.csrf("/settings/tokens").await;
    let make = |repos: &'static str| {
        let fields = [("name", "nightly <b>"), ("scope", "read"), ("days", "30"), ("repos", repos)];
        [&fields[..], &[("csrf", "")]].concat()
    };
    let form = |repos| -> Vec<(&str, &str)> {
        make(repos)
            .into_iter()
            .map(|(name, value)| (name, if name == "csrf" { csrf.as_str() } else { value }))
            .collect()
    };
    let unknown = anna.post("/settings/tokens", &form("acme/none")).await.text().await.unwrap();
    assert!(unknown.contains("There is no repository acme/none that you may read."), "{unknown}");
    let page = anna.post("/settings/tokens", &form("acme/secret")).await.text().await.unwrap();
    let (_, rest) = page.split_once("trainyard_").expect("the token is shown");
    let token = format!("trainyard_{}", rest.split('<').next().unwrap());
    assert!(!anna.text("/settings/tokens").await.contains("trainyard_"), "it is shown once");
    let ask = async |path: &str, method: reqwest::Method| {
        let request = reqwest::Client::new().request(method, format!("{}{path}", app.base)).bearer_auth(&token);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(ask("/api/v1/repos/acme/secret/builds", reqwest::Method::GET).await, 200);
    assert_eq!(ask("/api/v1/repos/acme/secret/builds/1/cancel", reqwest::Method::POST).await, 403);
    let listed = anna.text("/settings/tokens").await;
    assert!(listed.contains("nightly &#60;b&#62;") && listed.contains("acme/secret"), "{listed}");
    let id: i64 = sqlx::query_scalar("select id from api_token").fetch_one(&app.db).await.unwrap();
    let revoked = anna.post(&format!("/settings/tokens/{id}/revoke"), &[("csrf", &csrf)]).await;
    assert_eq!(revoked.status().as_u16(), 303);
    assert_eq!(ask("/api/v1/repos/acme/secret/builds", reqwest::Method::GET).await, 401);
    let audit = anna.text("/audit").await;
    assert!(audit.contains("make a token") && audit.contains("revoke a token"), "{audit}");
    app.stop().await;
}

#[tokio::test]
async fn streams_end_when_the_right_is_taken_away() {
    let db = database::pool().await;
    let state = web::State { access: support::access_through(&db, "", github(), false), ..support::state(&db) };
    let repo = support::repo_named(&db, 1, "acme/lora-styles", true).await;
    support::build(&db, repo, &support::push("main"), &[support::job(JobKind::Script, None, "unit")], &[]).await;
    let job = support::claim(&db).await;
    support::write(&state, &job, 0, "hello\n").await;
    let anna = people::person(&db, 7, "anna").await;
    people::allow(&db, anna.id, repo, Some(Right::Read)).await;
    let token = people::token(&db, anna.id, "t", Right::Read, None).await;
    let (address, _serving) =
        support::serve(state.clone(), web::Bounds::default(), &tokio_util::sync::CancellationToken::new()).await;
    let open = async |path: &str, first: &str| {
        let request = reqwest::Client::new().get(format!("http://{address}/api/v1/{path}")).bearer_auth(&token);
        let mut pieces = request.send().await.unwrap().bytes_stream();
        let begin = pieces.next().await.unwrap().unwrap();
        assert!(String::from_utf8_lossy(&begin).contains(first), "{begin:?}");
        pieces
    };
    let mut log = open(&format!("jobs/{}/log/stream", job.id), "hello").await;
    let mut of_repo = open("repos/acme/lora-styles/events", "event: begin").await;
    let mut of_all = open("events", "event: begin").await;
    people::allow(&db, anna.id, repo, None).await;
    let begin = Instant::now();
    let ends = async {
        tokio::join!(async { while log.next().await.is_some() {} }, async { while of_repo.next().await.is_some() {} })
    };
    let rest = tokio::time::timeout(Duration::from_secs(60), ends).await;
    assert!(rest.is_ok(), "a stream goes on after {:?}", begin.elapsed());
    // The stream of all repositories goes on without this one.
    support::finish(&state, &job, 6, Verdict::Passed, None).await;
    let told = async {
        while let Some(piece) = of_all.next().await {
            assert!(!String::from_utf8_lossy(&piece.unwrap()).contains("lora-styles"));
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(3), told).await.is_err(), "the stream has ended");
}

fn github() -> trainyard::github::Client {
    trainyard::github::Client::new(&trainyard::github::GitHubConfig::default()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_logs_in_restarts_a_build_makes_a_token_and_logs_out() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    repo.write(".travis.yml", "language: shell\nscript: echo hello\n");
    let sha = repo.commit("Begin");
    let push = crate::support::payload::push(&app.github, &repo, "main");
    crate::support::payload::Delivery::new("d", "push", &push).post(&app.base).await;
    app.github.wait_for_end(&sha, "trainyard/push").await;
    let hash = trainyard::passwords::hash(&PASSWORD.into()).unwrap();
    persons::insert_local(&app.db, "anna", &hash, true).await.unwrap();
    tokio::time::sleep(Duration::from_millis(2500)).await;

    let browser = Browser::start().await;
    let shown = async |name: &str| {
        if let Ok(folder) = std::env::var("TRAINYARD_TEST_SCREENSHOTS") {
            browser.driver.screenshot(&std::path::Path::new(&folder).join(format!("{name}.png"))).await.unwrap();
        }
    };
    browser.driver.goto(format!("{}/runners", app.base)).await.unwrap();
    browser.wait_for("h1", "Log in").await;
    shown("login").await;
    browser.driver.find(By::Css("input[name=name]")).await.unwrap().send_keys("anna").await.unwrap();
    browser.driver.find(By::Css("input[name=password]")).await.unwrap().send_keys(PASSWORD).await.unwrap();
    browser.driver.find(By::Css("form.fields button")).await.unwrap().click().await.unwrap();
    browser.wait_for("h1", "Runners").await;
    shown("runners").await;
    browser.driver.goto(format!("{}/acme/styles/builds/1", app.base)).await.unwrap();
    shown("build").await;
    browser.driver.find(By::Css("[data-restart]")).await.unwrap().click().await.unwrap();
    browser.wait_for("dialog h2", "Restart build 1?").await;
    shown("restart").await;
    assert!(browser.driver.find(By::Css("dialog input")).await.is_err(), "a session needs no token");
    browser.driver.find(By::Css("dialog button[value=yes]")).await.unwrap().click().await.unwrap();
    let asked = "select coalesce((select requested_by from restart), '')";
    let deadline = Instant::now() + Duration::from_secs(30);
    while sqlx::query_scalar::<_, String>(asked).fetch_one(&app.db).await.unwrap() != "anna" {
        assert!(Instant::now() < deadline, "nothing was restarted");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    browser.driver.find(By::Css(".person a")).await.unwrap().click().await.unwrap();
    browser.wait_for("h1", "Tokens").await;
    shown("tokens").await;
    browser.driver.find(By::Css("input[name=name]")).await.unwrap().send_keys("nightly").await.unwrap();
    browser.driver.find(By::Css("form.fields button")).await.unwrap().click().await.unwrap();
    browser.wait_for(".made", "trainyard_").await;
    shown("made").await;
    browser.driver.goto(format!("{}/audit", app.base)).await.unwrap();
    browser.wait_for("main", "make a token").await;
    shown("audit").await;
    browser.driver.find(By::Css(".person button")).await.unwrap().click().await.unwrap();
    browser.wait_for(".person", "Log in").await;
    browser.driver.goto(format!("{}/acme/none", app.base)).await.unwrap();
    browser.wait_for("main", "log in to see it").await;
    shown("none").await;
    browser.stop().await;
    app.stop().await;
}
