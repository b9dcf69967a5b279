//! `trainyard setup github`: the registration of the App in a browser, from the page to the first build.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use scraper::{Html, Selector};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};

use crate::support::app::App;
use crate::support::github::app::{Key, WEBHOOK_SECRET};
use crate::support::payload::{self, Delivery};

const PROGRAM: &str = env!("CARGO_BIN_EXE_trainyard");

struct Setup {
    child: Child,
    out: BufReader<ChildStdout>,
    page: String,
}

fn config(app: &App) -> PathBuf {
    app.folder.path().join("config.toml")
}

fn command(app: &App, arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["setup", "github", "--config"]).arg(config(app)).args(arguments).stdin(Stdio::null());
    command.kill_on_drop(true);
    command
}

impl Setup {
    /// Starts the command, and reads the address of its page.
    async fn start(app: &App, arguments: &[&str]) -> Self {
        // The service listens once its data folder is ready.
        assert_eq!(app.get("/healthz").await.0, 200);
        let mut child = command(app, arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut page = String::new();
        while !page.trim().starts_with("http://127.0.0.1:") {
            page.clear();
            assert_ne!(out.read_line(&mut page).await.unwrap(), 0, "the command shows no page");
        }
        Self { child, out, page: page.trim().to_owned() }
    }

    fn origin(&self) -> &str {
        self.page.rsplit_once('/').unwrap().0
    }

    /// Returns the rest of the output, and the exit status.
    async fn end(mut self) -> (String, Option<i32>) {
        let mut rest = String::new();
        tokio::time::timeout(Duration::from_secs(60), self.out.read_to_string(&mut rest)).await.unwrap().unwrap();
        (rest, self.child.wait().await.unwrap().code())
    }
}

/// Returns a browser that shows redirections instead of following them.
fn browser() -> reqwest::Client {
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

/// Presses the button of the page. Returns the address to which GitHub sends the browser, and the manifest.
async fn press(setup: &Setup) -> (String, Value) {
    let answer = browser().get(&setup.page).send().await.unwrap();
    let policy = answer.headers()["content-security-policy"].to_str().unwrap().to_owned();
    let page = answer.text().await.unwrap();
    let (action, manifest) = {
        let html = Html::parse_document(&page);
        let value = |selector: &str, name: &str| {
            let found = html.select(&Selector::parse(selector).unwrap()).next().unwrap();
            found.value().attr(name).unwrap().to_owned()
        };
        (value("form", "action"), value("input[name=manifest]", "value"))
    };
    assert!(policy.contains("default-src 'none'") && policy.contains("form-action http://127.0.0.1:"), "{policy}");
    let form = url::form_urlencoded::Serializer::new(String::new()).append_pair("manifest", &manifest).finish();
    let request = browser().post(action).header("content-type", "application/x-www-form-urlencoded").body(form);
    let answer = request.send().await.unwrap();
    let target = answer.headers()["location"].to_str().unwrap().to_owned();
    (target, serde_json::from_str(&manifest).unwrap())
}

#[tokio::test]
async fn an_app_is_registered_tried_and_used_by_the_running_service() {
    let settings =
        "[github]\ntoken = ''\n[server]\npublic_url = 'https://ci.example.org'\n[publish]\nreleases = ['acme/*']\n";
    let app = App::start(settings).await;
    let repo = app.github.repo("acme/styles");
    let setup = Setup::start(&app, &["--organization", "acme"]).await;
    let (target, manifest) = press(&setup).await;
    assert_eq!(manifest["hook_attributes"]["url"], "https://ci.example.org/webhooks/github");
    assert_eq!(manifest["default_permissions"]["checks"], "write");
    assert_eq!(manifest["default_permissions"]["contents"], "write", "for releases");
    let page = browser().get(target).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("/apps/trainyard/installations/new"), "{page}");
    app.github.app.install(&["acme/styles"]);
    let (said, status) = setup.end().await;
    assert_eq!(status, Some(0), "{said}");
    for permission in ["metadata", "contents", "statuses", "checks", "pull_requests", "issues"] {
        let row = said.lines().find(|line| line.contains(permission)).unwrap_or_else(|| panic!("{permission}: {said}"));
        assert!(row.contains('\u{2714}'), "{row}");
    }

    repo.write(".travis.yml", "language: shell\nscript: echo hello\n");
    let sha = repo.commit("Hello");
    let push = Delivery::signed(WEBHOOK_SECRET, "d", "push", &payload::push(&app.github, &repo, "main"));
    let begin = Instant::now();
    while push.post(&app.base).await.0 != 202 {
        assert!(begin.elapsed() < Duration::from_secs(20), "the secret of the App's webhook is not taken over");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(app.github.wait_for_end(&sha, "trainyard/push").await.state, "success");

    let output = command(&app, &[]).output().await.unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("an App was registered already"));
    app.stop().await;
}

#[tokio::test]
async fn a_stranger_cannot_bind_an_app_of_his_own() {
    let app = App::start("[github]\ntoken = ''\n").await;
    let setup = Setup::start(&app, &[]).await;
    for path in ["/", "/guess", "/favicon.ico"] {
        assert_eq!(browser().get(format!("{}{path}", setup.origin())).send().await.unwrap().status(), 404, "{path}");
    }
    let (target, _) = press(&setup).await;
    let (address, query) = target.split_once('?').unwrap();
    let code = query.split('&').next().unwrap();
    for forged in [format!("{address}?{code}"), format!("{address}?{code}&state=guess"), address.to_owned()] {
        assert_eq!(browser().get(forged).send().await.unwrap().status(), 403);
    }
    // A code that GitHub does not know leaves the page as it is.
    let state = query.split('&').nth(1).unwrap();
    for wrong in ["unknown", "..%2F..%2Fapp"] {
        let page = browser().get(format!("{address}?code={wrong}&{state}")).send().await.unwrap().text().await.unwrap();
        assert!(page.contains("This did not work"), "{page}");
    }
    let stored: i64 = sqlx::query_scalar("select count(*) from github_app").fetch_one(&app.db).await.unwrap();
    assert_eq!(stored, 0);
    let page = browser().get(&target).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("is registered"), "{page}");
    drop(setup);
    app.stop().await;
}

#[tokio::test]
async fn a_permission_that_is_missing_is_shown() {
    let app = App::start("[github]\ntoken = ''\n").await;
    app.github.repo("acme/styles");
    let setup = Setup::start(&app, &[]).await;
    let (target, _) = press(&setup).await;
    browser().get(target).send().await.unwrap();
    app.github.app.permit(&[("metadata", "read"), ("contents", "read")]);
    app.github.app.install(&["acme/styles"]);
    let (said, status) = setup.end().await;
    let row = said.lines().find(|line| line.contains("statuses")).unwrap();
    assert!(row.contains('\u{2718}') && row.contains("not granted"), "{said}");
    assert_eq!(status, Some(1));
    app.stop().await;
}

#[tokio::test]
async fn the_key_changes_while_the_service_runs() {
    let app = App::start("[github]\ntoken = ''\n").await;
    app.github.repo("acme/styles");
    let setup = Setup::start(&app, &[]).await;
    let (target, _) = press(&setup).await;
    browser().get(target).send().await.unwrap();
    drop(setup);
    let (new, file) = (Key::generate(), app.folder.path().join("new.pem"));
    std::fs::write(&file, &new.pem).unwrap();
    let file = file.to_str().unwrap();
    let run = async |arguments: &[&str]| {
        let output = command(&app, arguments).output().await.unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (said, output.status.code())
    };
    let (said, status) = run(&["--key", file]).await;
    assert!(status == Some(1) && said.contains("GitHub does not accept the key"), "{said}");
    app.github.app.set_keys(&[&new]);
    assert_eq!(run(&["--key", file]).await.1, Some(0));
    let (said, status) = run(&["--key", file]).await;
    assert!(status == Some(1) && said.contains("two keys are good already"), "{said}");
    assert_eq!(run(&["--end-previous"]).await, ("done\n".to_owned(), Some(0)));
    assert_eq!(run(&["--end-previous"]).await, ("there is none\n".to_owned(), Some(1)));
    assert_eq!(run(&["--remove"]).await, ("done\n".to_owned(), Some(0)));
    let stored: i64 = sqlx::query_scalar("select count(*) from github_app").fetch_one(&app.db).await.unwrap();
    assert_eq!(stored, 0);
    app.stop().await;
}
