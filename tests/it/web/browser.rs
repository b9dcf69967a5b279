//! Pages as a person sees them, in a real Chromium.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use thirtyfour::prelude::*;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use trainyard::web;

use crate::support::app::App;
use crate::support::database;
use crate::support::payload::{self, Delivery};
use crate::support::web::{running_job, serve, state, write};

/// A Chromium under WebDriver. It ends with the test.
pub(super) struct Browser {
    pub(super) driver: WebDriver,
    chromedriver: Child,
    _profile: tempfile::TempDir,
}

impl Browser {
    pub(super) async fn start() -> Self {
        let mut chromedriver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver is installed (`make setup-test`)");
        let lines = BufReader::new(chromedriver.stdout.take().unwrap()).lines();
        let port = lines
            .map_while(Result::ok)
            .find_map(|line| line.split("successfully on port ").nth(1)?.trim_end_matches('.').parse::<u16>().ok())
            .expect("chromedriver says its port");
        let profile = tempfile::tempdir().unwrap();
        let mut wanted = DesiredCapabilities::chrome();
        for argument in [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            &format!("--user-data-dir={}", profile.path().display()),
        ] {
            wanted.add_arg(argument).unwrap();
        }
        let driver = WebDriver::new(format!("http://127.0.0.1:{port}"), wanted).await.unwrap();
        Self { driver, chromedriver, _profile: profile }
    }

    pub(super) async fn stop(self) {
        self.driver.clone().quit().await.unwrap();
    }

    /// Returns the visible text of an element. It is read in one step, since the page replaces its parts meanwhile.
    async fn text(&self, css: &str) -> String {
        let script = "return document.querySelector(arguments[0])?.innerText ?? ''";
        let text = self.driver.execute(script, vec![css.into()]).await.unwrap();
        text.json().as_str().unwrap().to_owned()
    }

    /// Waits until the element's text contains `wanted`, without a reload of the page.
    pub(super) async fn wait_for(&self, css: &str, wanted: &str) {
        let mut text = String::new();
        for _ in 0..300 {
            text = self.text(css).await;
            if text.contains(wanted) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{css} does not show {wanted:?} but {text:?}");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Runs also when the test panicked. A process that has ended already is fine.
        let _ = self.chromedriver.kill();
        let _ = self.chromedriver.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_log_grows_and_the_page_turns_green_by_itself() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    repo.write(
        ".travis.yml",
        "language: shell\nscript:\n  - echo '<b>not bold</b>'; for i in 1 2 3 4 5 6; do sleep 1; echo tick $i; done\n",
    );
    repo.commit("Tick");
    Delivery::new("d", "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
    let browser = Browser::start().await;
    browser.driver.goto(&app.base).await.unwrap();
    browser.wait_for("main", "acme/styles").await;
    browser.driver.goto(format!("{}/acme/styles/builds/1/jobs/1", app.base)).await.unwrap();
    browser.wait_for("#log", "<b>not bold</b>").await;
    // The page is not reloaded from here on: what appears came over the stream.
    browser.driver.execute("window.stays = true", vec![]).await.unwrap();
    browser.wait_for("#log", "tick 6").await;
    browser.wait_for("#log", "Done. Your build exited with 0.").await;
    browser.wait_for("h1 + *", "passed").await;
    let stays = browser.driver.execute("return window.stays === true", vec![]).await.unwrap();
    assert_eq!(stays.json(), &serde_json::Value::Bool(true));
    let log = browser.text("#log").await;
    for i in 1..=6 {
        assert_eq!(log.matches(&format!("\ntick {i}")).count(), 1, "line {i} of {log}");
    }
    // After a reload, the page has the same log without the help of a script.
    browser.driver.refresh().await.unwrap();
    assert_eq!(browser.text("#log").await, log);
    browser.stop().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_chart_of_the_loss_grows_while_the_job_trains() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    repo.write(
        ".travis.yml",
        "language: shell\nscript:\n  - for i in 1 2 3 4 5 6; do sleep 1; echo \"step $i/6 loss=0.$((9 - i))\"; done\n",
    );
    repo.commit("Train");
    Delivery::new("d", "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
    let browser = Browser::start().await;
    browser.driver.goto(&app.base).await.unwrap();
    browser.wait_for("main", "acme/styles").await;
    browser.driver.goto(format!("{}/acme/styles/builds/1/jobs/1", app.base)).await.unwrap();
    browser.driver.execute("window.stays = true", vec![]).await.unwrap();
    browser.wait_for("#series", "of 6").await;
    assert!(!browser.text("#log").await.contains("step 6/6"), "the chart is there before the training's end");
    let points = "return document.querySelector('#series path.course').getAttribute('d').split('L').length";
    browser.wait_for("#series", "6 of 6").await;
    assert_eq!(browser.driver.execute(points, vec![]).await.unwrap().json(), 6);
    browser.wait_for("h1 + *", "passed").await;
    let stays = browser.driver.execute("return window.stays === true", vec![]).await.unwrap();
    assert_eq!(stays.json(), &serde_json::Value::Bool(true));
    let chart = browser.text("#series").await;
    assert!(chart.contains("Lowest\n0.3 at step 6") && chart.contains("too short to tell"), "{chart}");
    // After a reload, the same chart is made from the stored log.
    browser.driver.refresh().await.unwrap();
    assert_eq!(browser.text("#series").await, chart);
    let (status, series) = app.get("/api/v1/jobs/1/series").await;
    let series: serde_json::Value = serde_json::from_str(&series).unwrap();
    assert_eq!((status, &series["steps_wanted"], &series["trend"]), (200, &6.into(), &"too-short".into()));
    assert_eq!(series["points"][5], serde_json::json!({"step": 6, "value": 0.3}));
    browser.stop().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_goes_on_after_the_server_had_too_many_streams() {
    let db = database::pool().await;
    let state = web::State { limits: web::Limits::of(64, 1), ..state(&db) };
    let job = running_job(&state).await;
    write(&state, &job, 0, "first\n").await;
    let (address, _serving) = serve(state.clone(), web::Bounds::default(), &CancellationToken::new()).await;
    // Another reader has the only stream, and a copy of the log.
    let stream = format!("/api/v1/jobs/{}/log/stream", job.id);
    let taken = web::router(state.clone()).oneshot(Request::get(stream).body(Body::empty()).unwrap()).await.unwrap();
    let browser = Browser::start().await;
    browser.driver.goto(format!("http://{address}/acme/lora-styles/builds/1/jobs/1")).await.unwrap();
    browser.wait_for("#log", "first").await;
    write(&state, &job, 6, "second\n").await;
    drop(taken);
    browser.wait_for("#log", "second").await;
    let log = browser.text("#log").await;
    assert_eq!((log.matches("first").count(), log.matches("second").count()), (1, 1), "{log}");
    browser.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_approves_and_restarts_a_build_with_its_buttons() {
    let token = "0123456789abcdef0123456789abcdef";
    let app = App::start(&format!("[auth]\ntokens = {{anna = '{token}'}}\n[forks]\npolicy = 'approve'\n")).await;
    let repo = app.github.repo("acme/styles");
    repo.write(".travis.yml", "language: shell\nscript: echo hello\n");
    let base = repo.commit("Begin");
    repo.git(&["checkout", "-q", "-b", "watercolour"]);
    repo.write("change", "x");
    let head = repo.commit("Train a watercolour style");
    repo.git(&["checkout", "-q", "main"]);
    repo.open_pull_request(7, &base, &head);
    let opened = payload::pull_request(&app.github, &repo, 7, &base, &head);
    Delivery::new("d", "pull_request", &opened).post(&app.base).await;
    app.github.wait_for(Duration::from_secs(30), |it| it.description.contains("until a person approves")).await;

    let browser = Browser::start().await;
    browser.driver.goto(format!("{}/acme/styles/builds/1", app.base)).await.unwrap();
    browser.wait_for("#build", "This commit comes from a fork.").await;
    for (button, question, written) in [
        ("[data-approve]", "Approve build 1?", "wrong"),
        ("[data-approve]", "Approve build 1?", token),
        ("[data-restart]", "Restart build 1?", token),
    ] {
        browser.driver.find(By::Css(button)).await.unwrap().click().await.unwrap();
        browser.wait_for("dialog h2", question).await;
        let field = browser.driver.find(By::Css("dialog input")).await.unwrap();
        field.clear().await.unwrap();
        field.send_keys(written).await.unwrap();
        browser.driver.find(By::Css("dialog button[value=yes]")).await.unwrap().click().await.unwrap();
        if written == "wrong" {
            browser.wait_for("dialog output", "not among those of [auth]").await;
            browser.driver.find(By::Css("dialog button[value=no]")).await.unwrap().click().await.unwrap();
            continue;
        }
        // The second run ends within a second: its row stays.
        let done = "select state = 'passed' and (select count(*) from restart) = $1 from build";
        for _ in 0..300 {
            let restarts = i64::from(button == "[data-restart]");
            if sqlx::query_scalar::<_, bool>(done).bind(restarts).fetch_one(&app.db).await.unwrap() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        browser.wait_for("h1 + *", "passed").await;
    }
    browser.wait_for("#build", "anna").await;
    let asked: Vec<String> = sqlx::query_scalar("select requested_by from restart").fetch_all(&app.db).await.unwrap();
    assert_eq!(asked, ["anna"]);
    browser.stop().await;
    app.stop().await;
}
