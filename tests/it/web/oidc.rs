//! Logins with a provider of OpenID Connect.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool};
use thirtyfour::prelude::*;
use trainyard::domain::Right;
use trainyard::store::people::{permissions, persons};

use super::browser::Browser;
use crate::support::app::App;
use crate::support::github::{GitHub, number};
use crate::support::oidc::{CODE, FakeProvider, Fault, RealProvider, section};
use crate::support::people::{self, visitor::Visitor};
use crate::support::web::repo_named;

async fn start(provider: &FakeProvider, more: &str) -> App {
    let app = App::start(&section(&provider.issuer, more)).await;
    // The service has its tables by the time that it answers.
    app.get("/healthz").await;
    app
}

/// Goes to the provider and back. Returns the path to which the provider sends the browser.
async fn to_provider(visitor: &Visitor, provider: &FakeProvider, return_to: &str) -> String {
    let begun = visitor.get(&format!("/login/oidc?return_to={return_to}")).await;
    assert_eq!(begun.status().as_u16(), 303);
    let state = provider.authorize(begun.headers()["location"].to_str().unwrap());
    format!("/login/oidc/callback?code={CODE}&state={state}&iss={}", provider.issuer)
}

async fn log_in(visitor: &Visitor, provider: &FakeProvider) -> (u16, String) {
    let back = to_provider(visitor, provider, "/runners").await;
    let answer = visitor.get(&back).await;
    (answer.status().as_u16(), answer.text().await.unwrap())
}

fn anna() -> Value {
    json!({"sub": "248", "preferred_username": "anna", "groups": ["ci"]})
}

async fn everybody(db: &PgPool) -> Vec<(Option<String>, String, bool)> {
    sqlx::query_as("select subject, name, is_operator from person order by id").fetch_all(db).await.unwrap()
}

#[tokio::test]
async fn a_person_of_a_group_logs_in_and_has_the_rights_that_were_granted() {
    let provider = FakeProvider::start().await;
    let app = start(&provider, "groups = ['ci']\noperator_groups = ['ops']").await;
    let secret = repo_named(&app.db, number("acme/secret").into(), "acme/secret", true).await;
    // A local user and a person of GitHub have the name before.
    assert!(persons::insert_local(&app.db, "anna", "$argon2id$x", true).await.unwrap());
    persons::of_github(&app.db, 248, "anna").await.unwrap();
    provider.log_in(anna(), json!({}));
    let visitor = Visitor::new(&app.base);
    assert!(visitor.text("/login").await.contains("Log in with Studio"));
    let before = visitor.get("/runners").await;
    assert_eq!(before.status().as_u16(), 303);
    let back = to_provider(&visitor, &provider, "/runners").await;
    let answer = visitor.get(&back).await;
    assert_eq!((answer.status().as_u16(), &answer.headers()["location"]), (303, &"/runners".parse().unwrap()));
    assert_eq!(visitor.status("/runners").await, 200);
    assert_eq!(visitor.status("/audit").await, 403, "she is not the operator of her name");
    assert_eq!(visitor.status("/acme/secret").await, 404);
    let all = everybody(&app.db).await;
    assert_eq!(all.len(), 3, "nobody was merged: {all:?}");
    assert_eq!(all[2], (Some("248".to_owned()), "anna".to_owned(), false));

    let issuer = Some(provider.issuer.as_str());
    let person = persons::granted(&app.db, "oidc:248", issuer).await.unwrap().unwrap();
    assert_eq!(persons::granted(&app.db, "oidc:248", Some("https://other.example")).await.unwrap(), None);
    permissions::grant(&app.db, person, secret, Some(Right::Read)).await.unwrap();
    assert_eq!(visitor.status("/acme/secret").await, 200);

    // The same login counts once, and a login begun elsewhere counts nowhere.
    assert_eq!(visitor.status(&back).await, 403);
    let stranger = Visitor::new(&app.base);
    let of_another = to_provider(&visitor, &provider, "/").await;
    assert_eq!(stranger.status(&of_another).await, 403);
    assert_eq!(visitor.status(&of_another.replace(&provider.issuer, "https://other.example")).await, 403);

    // The provider decides at each login who is an operator. A new session has a new value.
    let old = visitor.cookie("trainyard").unwrap();
    let operator = json!({"sub": "248", "preferred_username": "anna b", "groups": ["ops"]});
    provider.log_in(operator, json!({}));
    assert_eq!(log_in(&visitor, &provider).await.0, 303);
    assert_ne!(visitor.cookie("trainyard").unwrap(), old);
    assert_eq!(visitor.status("/audit").await, 200);
    stranger.set_cookie("trainyard", &old);
    assert_eq!(stranger.status("/runners").await, 303, "the old session is over");
    provider.log_in(anna(), json!({}));
    assert_eq!(log_in(&visitor, &provider).await.0, 303);
    assert_eq!(visitor.status("/audit").await, 403);
    // A token counts for a month after the login, and for nobody without the provider.
    let token = people::token(&app.db, person, "t", Right::Read, None).await;
    let builds = async || {
        let request = reqwest::Client::new().get(format!("{}/api/v1/repos/acme/secret/builds", app.base));
        request.bearer_auth(&token).send().await.unwrap().status().as_u16()
    };
    assert_eq!(builds().await, 200);
    for (change, back) in [
        ("confirmed_at = now() - interval '31 days'", "confirmed_at = now()"),
        ("issuer = 'https://earlier.example'", "issuer = $1"),
    ] {
        let update = |what: &str| AssertSqlSafe(format!("update person set {what} where subject = '248' and $1 <> ''"));
        sqlx::query(update(change)).bind(&provider.issuer).execute(&app.db).await.unwrap();
        assert_eq!(builds().await, 401, "{change}");
        sqlx::query(update(back)).bind(&provider.issuer).execute(&app.db).await.unwrap();
        assert_eq!(builds().await, 200);
    }
    // A day later the provider is asked again.
    sqlx::query("update session set created_at = now() - interval '25 hours'").execute(&app.db).await.unwrap();
    assert_eq!(visitor.status("/runners").await, 303);
    app.stop().await;
}

#[tokio::test]
async fn strangers_are_refused_and_the_userinfo_counts_too() {
    let provider = FakeProvider::start().await;
    let app = start(&provider, "domains = ['example.org']").await;
    let visitor = Visitor::new(&app.base);
    for (claims, more) in [
        (json!({"sub": "1", "preferred_username": "mallory"}), json!({})),
        (json!({"sub": "1", "email": "m@evil.example", "email_verified": true}), json!({})),
        (json!({"sub": "1", "email": "m@example.org"}), json!({"email_verified": false})),
    ] {
        provider.log_in(claims, more);
        let (status, page) = log_in(&visitor, &provider).await;
        assert_eq!(status, 403);
        assert!(page.contains("may not log in here"), "{page}");
    }
    assert_eq!(everybody(&app.db).await, []);
    assert_eq!(visitor.cookies.lock().unwrap().len(), 0);
    let known = json!({"preferred_username": "bob", "email": "bob@example.org", "email_verified": true});
    provider.log_in(json!({"sub": "2"}), known);
    provider.will(Some(Fault::OtherUser));
    assert_eq!(log_in(&visitor, &provider).await.0, 403, "the userinfo is not his");
    provider.will(None);
    assert_eq!(log_in(&visitor, &provider).await.0, 303);
    assert_eq!(everybody(&app.db).await, [(Some("2".to_owned()), "bob".to_owned(), false)]);
    // No other site is the end of a login.
    let back = to_provider(&visitor, &provider, "//evil.example/").await;
    assert_eq!(visitor.get(&back).await.headers()["location"], "/");
    app.stop().await;
}

#[tokio::test]
async fn a_token_that_proves_nothing_logs_nobody_in() {
    let provider = FakeProvider::start().await;
    let app = start(&provider, "groups = ['ci']").await;
    provider.log_in(anna(), json!({}));
    let visitor = Visitor::new(&app.base);
    for fault in [
        Fault::Nonce,
        Fault::Audience,
        Fault::SecondAudience,
        Fault::Issuer,
        Fault::Expired,
        Fault::Later,
        Fault::Unsigned,
        Fault::Shared,
        Fault::OtherKey,
        Fault::Changed,
        Fault::NoToken,
        Fault::Redirect,
    ] {
        provider.will(Some(fault));
        let (status, page) = log_in(&visitor, &provider).await;
        assert_eq!(status, 403, "{fault:?}");
        assert!(page.contains("Studio does not confirm the login"), "{fault:?}: {page}");
        assert_eq!(visitor.cookies.lock().unwrap().len(), 0, "{fault:?}");
    }
    assert_eq!(everybody(&app.db).await, []);
    provider.will(None);
    // A code that the browser did not get from the provider.
    let back = to_provider(&visitor, &provider, "/").await.replace(CODE, "another");
    assert_eq!(visitor.status(&back).await, 403);
    let redeemed = provider.redeemed();
    assert_eq!(log_in(&visitor, &provider).await.0, 303, "the same without a fault");
    assert_eq!(provider.redeemed(), redeemed + 1);
    app.stop().await;
}

#[tokio::test]
async fn new_keys_of_the_provider_are_fetched_and_another_document_is_not_its_own() {
    let provider = FakeProvider::start().await;
    let app = start(&provider, "groups = ['ci']").await;
    provider.log_in(anna(), json!({}));
    provider.will(Some(Fault::Document));
    let visitor = Visitor::new(&app.base);
    let answer = visitor.get("/login/oidc").await;
    assert_eq!(answer.status().as_u16(), 503);
    assert!(answer.text().await.unwrap().contains("Studio does not answer"));
    provider.will(None);
    assert_eq!(visitor.status("/login/oidc").await, 503, "a failure is the answer for others, for some seconds");
    let begin = Instant::now();
    while visitor.status("/login/oidc").await != 303 {
        assert!(begin.elapsed() < Duration::from_secs(20), "the provider is not asked again");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(log_in(&visitor, &provider).await.0, 303);
    assert_eq!(log_in(&visitor, &provider).await.0, 303);
    assert_eq!(provider.fetched(), 1, "the keys are kept for some minutes");
    provider.rotate();
    // A token that the keys do not fit fetches them again, but not at once.
    assert_eq!(log_in(&visitor, &provider).await.0, 403);
    let begin = Instant::now();
    while log_in(&visitor, &provider).await.0 != 303 {
        assert!(begin.elapsed() < Duration::from_secs(30), "the keys are not fetched again");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(provider.fetched(), 2);
    app.stop().await;
}

#[tokio::test]
async fn a_provider_may_want_the_secret_in_the_form_and_the_doctor_asks_it() {
    let provider = FakeProvider::start().await;
    provider.want_form();
    let app = start(&provider, "groups = ['ci']").await;
    provider.log_in(anna(), json!({}));
    assert_eq!(log_in(&Visitor::new(&app.base), &provider).await.0, 303);
    let doctor = async || {
        let mut doctor = tokio::process::Command::new(env!("CARGO_BIN_EXE_trainyard"));
        let output =
            doctor.args(["doctor", "--config"]).arg(app.folder.path().join("config.toml")).output().await.unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let said = doctor().await;
    assert!(said.contains(&format!("{} answers, with its keys", provider.issuer)), "{said}");
    provider.will(Some(Fault::Document));
    let said = doctor().await;
    assert!(said.contains("does not answer as it should"), "{said}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_logs_in_at_a_real_provider() {
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    };
    let base = format!("http://127.0.0.1:{port}");
    let provider = RealProvider::start(&format!("{base}/login/oidc/callback"));
    let folder = tempfile::tempdir().unwrap();
    let github = GitHub::start(folder.path().join("github")).await;
    let server = format!("[server]\nlisten = '127.0.0.1:{port}'\npublic_url = '{base}'\n");
    let operators = "groups = ['ci']\noperator_emails = ['ops-olga@example.org']";
    let settings = format!("{server}{}", section(&provider.issuer, operators));
    let app = App::start_in(folder, github, &settings).await;
    app.get("/healthz").await;

    let as_person = async |name: &str| {
        let browser = Browser::start().await;
        browser.driver.goto(format!("{base}/runners")).await.unwrap();
        browser.wait_for("h1", "Log in").await;
        if let Ok(folder) = std::env::var("TRAINYARD_TEST_SCREENSHOTS") {
            browser.driver.screenshot(&std::path::Path::new(&folder).join("login-oidc.png")).await.unwrap();
        }
        browser.driver.find(By::Css("a.button")).await.unwrap().click().await.unwrap();
        browser.wait_for("h1", "Sign-in").await;
        browser.driver.find(By::Css("input[name=login]")).await.unwrap().send_keys(name).await.unwrap();
        browser.driver.find(By::Css("input[name=password]")).await.unwrap().send_keys("x").await.unwrap();
        browser.driver.find(By::Css("button[type=submit]")).await.unwrap().click().await.unwrap();
        browser.wait_for("h1", "Authorize").await;
        browser.driver.find(By::Css("button[type=submit]")).await.unwrap().click().await.unwrap();
        browser
    };
    let browser = as_person("ci-anna").await;
    browser.wait_for("h1", "Runners").await;
    browser.wait_for(".person", "ci-anna").await;
    browser.driver.goto(format!("{base}/audit")).await.unwrap();
    browser.wait_for("main", "This is for operators.").await;
    browser.stop().await;
    let browser = as_person("ops-olga").await;
    browser.wait_for("h1", "Runners").await;
    browser.driver.goto(format!("{base}/audit")).await.unwrap();
    browser.wait_for("main", "log in").await;
    browser.stop().await;
    let browser = as_person("other-mallory").await;
    browser.wait_for("main", "may not log in here").await;
    browser.stop().await;
    assert_eq!(
        everybody(&app.db).await,
        [
            (Some("ci-anna".to_owned()), "ci-anna".to_owned(), false),
            (Some("ops-olga".to_owned()), "ops-olga".to_owned(), true),
        ]
    );
    app.stop().await;
}
