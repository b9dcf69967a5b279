//! The deliveries on their pages and over HTTP, and their replay.

use serde_json::{Value, json};
use thirtyfour::prelude::*;

use super::browser::Browser;
use crate::support::app::App;
use crate::support::git_host::Repo;
use crate::support::payload::{self, Delivery};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const MALLORY: &str = "the secret of mallory alone";

fn settings() -> String {
    format!("[auth]\ntokens = {{ anna = \"{TOKEN}\" }}\n[github]\nwebhook_secrets = {{ mallory = \"{MALLORY}\" }}\n")
}

async fn get(app: &App, path: &str, token: Option<&str>) -> (u16, Value) {
    let mut request = reqwest::Client::new().get(format!("{}{path}", app.base));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn replay(app: &App, id: &str, token: Option<&str>) -> (u16, Value) {
    let mut request = reqwest::Client::new().post(format!("{}/api/v1/deliveries/{id}/replay", app.base));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn ids(app: &App, query: &str) -> Vec<String> {
    let (code, answer) = get(app, &format!("/api/v1/deliveries{query}"), None).await;
    assert_eq!(code, 200, "{answer}");
    let list = answer["deliveries"].as_array().unwrap();
    list.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

/// Makes a repository with a commit.
fn repo(app: &App, name: &str) -> Repo {
    let git = app.github.repo(name);
    git.write(".travis.yml", "language: shell\nscript: echo hello\n");
    git.commit("Hello\n\nCo-authored-by: Bob <bob@example.org>\nLog in with ghp_0123456789abcdef");
    git
}

/// Sends deliveries of each outcome: `built`, `ping`, `closed`, `hidden` (given up) and `moved` (refused).
async fn fill(app: &App) -> (Repo, Repo) {
    let (styles, hidden) = (repo(app, "acme/styles"), repo(app, "acme/hidden"));
    Delivery::new("built", "push", &payload::push(&app.github, &styles, "main")).post(&app.base).await;
    assert_eq!(app.outcome("built").await, "acme/styles#1");
    Delivery::new("ping", "ping", &json!({"zen": "Speak like a human."})).post(&app.base).await;
    let mut closed = payload::pull_request(&app.github, &styles, 3, &styles.head(), &styles.head());
    closed["action"] = "closed".into();
    Delivery::new("closed", "pull_request", &closed).post(&app.base).await;
    let push = payload::push(&app.github, &hidden, "main");
    std::fs::rename(&hidden.bare, hidden.bare.with_extension("away")).unwrap();
    Delivery::new("hidden", "push", &push).post(&app.base).await;
    assert!(app.outcome("hidden").await.starts_with("no build: "));
    let before = payload::pushed(&app.github, &styles, "main");
    styles.git(&["commit", "--quiet", "--amend", "-m", "Another one"]);
    styles.git(&["push", "--quiet", "--force", "origin", "main"]);
    Delivery::new("moved/1?a#b%20", "push", &before).post(&app.base).await;
    assert!(app.outcome("moved/1?a#b%20").await.starts_with("refused: "));
    (styles, hidden)
}

const MOVED: &str = "moved%2F1%3Fa%23b%2520";

#[tokio::test]
async fn deliveries_are_listed_with_what_became_of_them_and_bodies_need_a_token() {
    let app = App::start(&settings()).await;
    fill(&app).await;
    assert_eq!(ids(&app, "").await, ["moved/1?a#b%20", "hidden", "closed", "ping", "built"]);
    for (query, found) in [
        ("?outcome=built", vec!["built"]),
        ("?outcome=failed", vec!["hidden"]),
        ("?outcome=refused", vec!["moved/1?a#b%20"]),
        ("?outcome=none", vec!["closed", "ping"]),
        ("?outcome=open", vec![]),
        ("?repository=ACME/styles&outcome=", vec!["moved/1?a#b%20", "closed", "built"]),
        ("?repository=acme/styles&outcome=none", vec!["closed"]),
        ("?repository=acme/%00", vec!["moved/1?a#b%20", "hidden", "closed", "ping", "built"]),
        ("?limit=2", vec!["moved/1?a#b%20", "hidden"]),
        ("?limit=2&before=hidden", vec!["closed", "ping"]),
        ("?before=built", vec![]),
        ("?before=unknown", vec![]),
    ] {
        assert_eq!(ids(&app, query).await, found, "{query}");
    }
    assert_eq!(get(&app, "/api/v1/deliveries?outcome=x", None).await.0, 400);
    assert_eq!(get(&app, "/api/v1/deliveries/unknown", None).await.0, 404);

    let (code, built) = get(&app, "/api/v1/deliveries/built", None).await;
    assert_eq!((code, &built["result"], &built["outcome"]), (200, &json!("built"), &json!("acme/styles#1")));
    assert_eq!(built["build_url"], "http://127.0.0.1:8700/acme/styles/builds/1");
    assert_eq!((&built["source"], &built["tries"], built.get("body")), (&json!("github"), &json!(1), None));
    assert_eq!(get(&app, "/api/v1/deliveries/built", Some("wrong")).await.0, 401);
    let (_, built) = get(&app, "/api/v1/deliveries/built", Some(TOKEN)).await;
    assert_eq!(built["body"]["head_commit"]["author"]["email"], "[secure]");
    assert_eq!(
        built["body"]["head_commit"]["message"],
        "Hello\n\nCo-authored-by: Bob <[address]>\nLog in with [secure]"
    );
    assert_eq!(get(&app, &format!("/api/v1/deliveries/{MOVED}"), None).await.1["id"], "moved/1?a#b%20");

    let (code, page) = app.get("/deliveries").await;
    assert_eq!(code, 200);
    for told in [
        "acme/styles#1",
        "pull request closed",
        "refs/heads/main of acme/styles",
        "/deliveries/hidden",
        &format!("/deliveries/{MOVED}"),
    ] {
        assert!(page.contains(told), "{told}: {page}");
    }
    let (code, page) = app.get(&format!("/deliveries/{MOVED}")).await;
    assert!(code == 200 && page.contains("data-replay") && !page.contains("ghp_"), "{page}");
    let (_, page) = app.get("/deliveries/built").await;
    assert!(page.contains("restart that build") && !page.contains("data-replay"), "{page}");
    assert_eq!(app.get("/deliveries/unknown").await.0, 404);
    assert!(app.get("/deliveries?repository=nobody/else").await.1.contains("No such deliveries"));
    // A body was removed with its repository.
    sqlx::query("update delivery set body = ''").execute(&app.db).await.unwrap();
    assert_eq!(get(&app, "/api/v1/deliveries/built", Some(TOKEN)).await.1["body"], "The body was removed.");
    assert!(replay(&app, "hidden", Some(TOKEN)).await.1["error"].as_str().unwrap().contains("was removed"));
    app.stop_with_leaks().await;
}

#[tokio::test]
async fn a_replay_gives_the_build_that_is_missing_and_never_a_second_one() {
    let app = App::start(&settings()).await;
    let (_, hidden) = fill(&app).await;
    for token in [None, Some("wrong")] {
        assert_eq!(replay(&app, "hidden", token).await.0, 401);
    }
    let refused = async |id: &str| {
        let (code, answer) = replay(&app, id, Some(TOKEN)).await;
        assert_eq!(code, 409, "{answer}");
        answer["error"].as_str().unwrap().to_owned()
    };
    assert!(refused("built").await.contains("http://127.0.0.1:8700/acme/styles/builds/1. Restart that build"));
    assert!(refused("ping").await.ends_with("asks for no build: ping."));
    assert!(refused("closed").await.ends_with("asks for no build: pull request closed."));
    assert_eq!(replay(&app, "unknown", Some(TOKEN)).await.0, 404);

    // What somebody has signed who may not speak for the repository is never worked on.
    for scope in ["mallory", "acme"] {
        sqlx::query(
            "insert into delivery (id, event, body, body_size, repo, signed_scope, done_at, outcome)
             select $1, event, body, body_size, repo, $1, now(), 'not understood' from delivery where id = 'hidden'",
        )
        .bind(scope)
        .execute(&app.db)
        .await
        .unwrap();
        assert!(refused(scope).await.contains("was not signed"));
    }
    let forged = Delivery::signed(MALLORY, "forged", "push", &payload::pushed(&app.github, &hidden, "main"));
    assert_eq!(forged.post_to(&app.base, "/mallory").await.0, 403);
    assert_eq!(replay(&app, "forged", Some(TOKEN)).await.0, 404);

    // The repository is there by now.
    std::fs::rename(hidden.bare.with_extension("away"), &hidden.bare).unwrap();
    assert_eq!(replay(&app, "hidden", Some(TOKEN)).await, (200, json!({"replayed": "hidden"})));
    assert_eq!(app.outcome("hidden").await, "acme/hidden#1");
    assert!(refused("hidden").await.contains("acme/hidden/builds/1"));
    // The branch is still elsewhere.
    assert_eq!(replay(&app, MOVED, Some(TOKEN)).await.0, 200);
    assert!(app.outcome("moved/1?a#b%20").await.starts_with("refused: "));
    let builds: i64 = sqlx::query_scalar("select count(*) from build").fetch_one(&app.db).await.unwrap();
    assert_eq!(builds, 2);
    app.stop_with_leaks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_replays_a_delivery_and_reads_its_body() {
    let app = App::start(&settings()).await;
    let (_, hidden) = fill(&app).await;
    let browser = Browser::start().await;
    browser.driver.goto(format!("{}/deliveries", app.base)).await.unwrap();
    browser.wait_for("#deliveries", "given up").await;
    browser.driver.find(By::Css("#outcome option[value=failed]")).await.unwrap().click().await.unwrap();
    browser.driver.find(By::Css(".filter button")).await.unwrap().click().await.unwrap();
    // The form leads to another page, which has no other delivery.
    let filtered =
        "return location.search.includes('outcome=failed') && document.querySelectorAll('tbody tr').length === 1";
    for _ in 0..100 {
        if browser.driver.execute(filtered, vec![]).await.unwrap().json() == &json!(true) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    // In one step, as the page replaces its parts meanwhile.
    browser.driver.execute("document.querySelector('tbody a').click()", vec![]).await.unwrap();
    browser.wait_for("#delivery", "given up").await;
    std::fs::rename(hidden.bare.with_extension("away"), &hidden.bare).unwrap();
    let press = async |button: &str, written: Option<&str>| {
        browser.driver.find(By::Css(button)).await.unwrap().click().await.unwrap();
        if let Some(written) = written {
            browser.driver.find(By::Css("dialog input")).await.unwrap().send_keys(written).await.unwrap();
        }
        browser.driver.find(By::Css("dialog button[value=yes]")).await.unwrap().click().await.unwrap();
    };
    press("[data-replay]", Some(TOKEN)).await;
    browser.wait_for("#delivery", "acme/hidden#1").await;
    press("[data-read]", None).await;
    browser.wait_for("#payload", "[secure]").await;
    let body = browser.text("#payload").await;
    assert!(body.contains("\"full_name\": \"acme/hidden\"") && !body.contains("ada@example.org"), "{body}");
    browser.stop().await;
    app.stop_with_leaks().await;
}
