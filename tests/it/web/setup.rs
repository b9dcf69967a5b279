//! The setup on the pages of a fresh service: the link, the first operator, the GitHub App, and the first build.

use std::process::Stdio;
use std::time::Duration;

use thirtyfour::prelude::*;
use tokio::process::Command;

use super::browser::Browser;
use crate::support::app::App;
use crate::support::github::app::WEBHOOK_SECRET;
use crate::support::payload::{self, Delivery};
use crate::support::people::visitor::Visitor;

const PROGRAM: &str = env!("CARGO_BIN_EXE_trainyard");
const PASSWORD: &str = "correct horse battery";

/// Starts a fresh service without any credentials for GitHub.
async fn fresh(change: &str) -> App {
    let app = App::start(&format!("[github]\ntoken = ''\nwebhook_secret = ''\n{change}")).await;
    assert_eq!(app.get("/healthz").await.0, 200);
    app
}

/// Runs `trainyard setup link`. Returns its output and whether it succeeded.
async fn link_command(app: &App) -> (String, bool) {
    let mut command = Command::new(PROGRAM);
    command.args(["setup", "link", "--config"]).arg(app.folder.path().join("config.toml")).stdin(Stdio::null());
    let output = command.output().await.unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (said, output.status.success())
}

/// Makes a link as the command does. Returns its path on the server.
async fn link(app: &App) -> String {
    let (said, is_done) = link_command(app).await;
    assert!(is_done, "{said}");
    let (_, path) = said.lines().find_map(|line| line.split_once("/setup/start")).expect("the command prints a link");
    format!("/setup/start{path}")
}

async fn fill(browser: &Browser, name: &str, value: &str) {
    browser.driver.find(By::Name(name)).await.unwrap().send_keys(value).await.unwrap();
}

async fn press(browser: &Browser, button: &str) {
    let path = format!("//main//button[normalize-space()='{button}'] | //main//a[normalize-space()='{button}']");
    browser.driver.find(By::XPath(path)).await.unwrap().click().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fresh_server_leads_to_its_first_build() {
    // The browser comes over the loopback, as through a tunnel, although people will come over TLS.
    let app = fresh("[server]\npublic_url = 'https://ci.example.org'\n").await;
    let repo = app.github.repo("acme/styles");
    let browser = Browser::start().await;
    browser.driver.goto(&app.base).await.unwrap();
    browser.wait_for("main", "trainyard setup link").await;

    browser.driver.goto(format!("{}{}", app.base, link(&app).await)).await.unwrap();
    browser.wait_for("main", "The first operator").await;
    browser.wait_for(".steps li:nth-child(1)", "next").await;
    browser.wait_for(".steps li:nth-child(2)", "waiting").await;
    for (name, value) in [("name", "anna"), ("password", PASSWORD), ("again", PASSWORD)] {
        fill(&browser, name, value).await;
    }
    press(&browser, "Make the operator").await;

    browser.wait_for(".steps li:nth-child(1)", "done").await;
    browser.wait_for(".steps li:nth-child(2)", "next").await;
    browser.wait_for(".person", "anna").await;
    fill(&browser, "organization", "acme").await;
    press(&browser, "Register the GitHub App").await;
    browser.wait_for("main", "Continue at GitHub").await;
    press(&browser, "Continue at GitHub").await;

    // Back from GitHub, without a restart of the service.
    browser.wait_for(".steps li:nth-child(2)", "done").await;
    browser.wait_for("main", "The App is installed nowhere").await;
    let install = browser.driver.find(By::LinkText("Install the App at GitHub")).await.unwrap();
    let install = install.attr("href").await.unwrap().unwrap();
    assert!(install.ends_with("/apps/trainyard/installations/new"), "{install}");
    assert_eq!(browser.driver.current_url().await.unwrap().path(), "/setup");
    app.github.app.install(&["acme/styles"]);
    browser.driver.refresh().await.unwrap();
    for permission in ["metadata", "contents", "statuses", "checks", "pull_requests", "issues"] {
        browser.wait_for("main table", permission).await;
    }
    let table = browser.text("main table").await;
    assert_eq!((table.matches("given").count(), table.matches("missing").count()), (6, 0), "{table}");

    browser.driver.goto(&app.base).await.unwrap();
    browser.wait_for(".steps li:nth-child(3)", "next").await;
    repo.write(".travis.yml", "language: shell\nscript: echo hello\n");
    let sha = repo.commit("Hello");
    // The secret of the App's webhook is good some seconds later.
    let push = Delivery::signed(WEBHOOK_SECRET, "d", "push", &payload::push(&app.github, &repo, "main"));
    tokio::time::timeout(Duration::from_secs(20), async {
        while push.post(&app.base).await.0 != 202 {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
    .await
    .unwrap();
    assert_eq!(app.github.wait_for_end(&sha, "trainyard/push").await.state, "success");
    browser.driver.goto(&app.base).await.unwrap();
    browser.wait_for("#builds", "acme/styles").await;
    assert_eq!(browser.text(".steps").await, "", "the first page is that of builds now");
    browser.driver.goto(format!("{}/setup", app.base)).await.unwrap();
    browser.wait_for(".steps li:nth-child(4)", "done").await;
    browser.driver.goto(format!("{}/audit", app.base)).await.unwrap();
    browser.wait_for("main", "make the first operator").await;
    browser.wait_for("main", "register the GitHub App").await;
    browser.stop().await;
    app.stop().await;
}

/// Makes the first operator, and returns their browser.
async fn operator(app: &App) -> Visitor {
    let path = link(app).await;
    let key = path.split_once("key=").unwrap().1;
    let anna = Visitor::new(&app.base);
    let fields = [("key", key), ("name", "anna"), ("password", PASSWORD), ("again", PASSWORD)];
    let made = anna.post("/setup/start", &fields).await;
    assert_eq!((made.status().as_u16(), &made.headers()["location"]), (303, &"/setup".parse().unwrap()));
    anna
}

#[tokio::test]
async fn a_form_that_cannot_be_used_says_why_and_keeps_the_link() {
    let app = fresh("").await;
    let path = link(&app).await;
    let key = path.split_once("key=").unwrap().1;
    let anna = Visitor::new(&app.base);
    for (name, password, again, told) in [
        ("a b", PASSWORD, PASSWORD, "a name has letters"),
        ("anna", "short", "short", "at least 12 characters"),
        ("anna", PASSWORD, "another password", "the two passwords differ"),
    ] {
        let fields = [("key", key), ("name", name), ("password", password), ("again", again)];
        let page = anna.post("/setup/start", &fields).await.text().await.unwrap();
        assert!(page.contains(told), "{page}");
    }
    assert_eq!(anna.status(&path).await, 200);
    let (said, is_done) = {
        operator(&app).await;
        link_command(&app).await
    };
    assert!(!is_done && said.contains("people can log in already"), "{said}");
    app.stop().await;
}

#[tokio::test]
async fn a_service_that_closed_itself_says_that_it_has_to_be_restarted() {
    let app = fresh("[server]\nlisten = '0.0.0.0:0'\n").await;
    let anna = operator(&app).await;
    let page = anna.text("/setup").await;
    assert!(page.contains("listens at the loopback of its machine alone, and not at 0.0.0.0:0"), "{page}");
    app.stop().await;
}

#[tokio::test]
async fn an_operator_replaces_the_app_and_sees_what_is_missing() {
    let app = fresh("[server]\npublic_url = 'http://127.0.0.1:1'\n").await;
    app.github.repo("acme/styles");
    let anna = operator(&app).await;
    assert!(anna.text("/setup").await.contains("which only this machine reaches"));
    anna.register(&[]).await;
    let id = "select app_id from github_app";
    let first: i64 = sqlx::query_scalar(id).fetch_one(&app.db).await.unwrap();
    app.github.app.permit(&[("metadata", "read"), ("contents", "read")]);
    app.github.app.install(&["acme/styles"]);
    let page = anna.text("/setup").await;
    assert!(page.contains("not granted") && page.contains("missing") && page.contains("given"), "{page}");

    // A second App needs the wish to replace the first one.
    let csrf = anna.csrf("/setup").await;
    let refused = anna.post("/setup/github", &[("csrf", &csrf)]).await;
    assert_eq!(refused.status().as_u16(), 409);
    assert!(refused.text().await.unwrap().contains("an App was registered already"));
    let changed = "select changed_at from github_app";
    let before: chrono::DateTime<chrono::Utc> = sqlx::query_scalar(changed).fetch_one(&app.db).await.unwrap();
    anna.register(&[("replace", "yes")]).await;
    let after: chrono::DateTime<chrono::Utc> = sqlx::query_scalar(changed).fetch_one(&app.db).await.unwrap();
    assert!(after > before);
    assert_eq!(
        sqlx::query_scalar::<_, i64>(id).fetch_all(&app.db).await.unwrap(),
        [first],
        "the stand-in has one number"
    );
    // The secrets of both Apps are good until the operator ends the first one.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let refused = anna.post("/setup/github", &[("csrf", &csrf), ("replace", "yes")]).await.text().await.unwrap();
    assert!(refused.contains("webhook-secret --end-previous"), "{refused}");
    app.stop().await;
}
