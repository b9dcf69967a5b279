//! Webhooks of Travis: it signs for everyone who builds there, so its signature says little.

use std::sync::atomic::Ordering;

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::support::app::App;
use crate::support::payload::{self, Delivery};
use crate::support::travis::{self, OTHER, OURS, Request};
use crate::support::{database, web};

const HELLO: &str = "language: shell\nscript: echo hello\n";

/// Returns what became of the delivery that an answer names.
async fn outcome(app: &App, answer: &Value) -> String {
    app.outcome(answer["delivery"].as_str().unwrap_or_else(|| panic!("{answer}"))).await
}

#[tokio::test]
async fn a_signature_of_travis_alone_starts_nothing() {
    let app = App::start(&travis::pinned()).await;
    let repo = app.github.repo("acme/styles");
    repo.write(".travis.yml", HELLO);
    let base = repo.commit("Begin");
    repo.git(&["checkout", "-q", "-b", "evil"]);
    repo.write(".travis.yml", "language: shell\nscript: env\n");
    let fork = repo.commit("Evil");
    repo.git(&["checkout", "-q", "main"]);
    repo.open_pull_request(7, &base, &fork);
    Delivery::new("d-1", "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
    app.github.wait_for_end(&base, "trainyard/push").await;

    let change = |change: &dyn Fn(&mut Value)| {
        let mut payload = travis::passed("acme/styles", "main", &base);
        change(&mut payload);
        payload
    };
    let at = |time: chrono::DateTime<Utc>| change(&|payload| payload["finished_at"] = json!(time));
    let pull =
        |payload: &mut Value| (payload["pull_request"], payload["pull_request_number"]) = (json!(true), json!(7));
    // The case, its payload, and the words of the outcome.
    let cases: Vec<(&str, Value, &str)> = vec![
        ("another repository", travis::passed("evil/styles", "main", &base), "evil/styles is not known here"),
        ("a pull request", change(&pull), "does not say whose commits these are"),
        ("a failed build", change(&|payload| payload["state"] = "failed".into()), "is failed"),
        ("a started build", change(&|payload| payload["state"] = "started".into()), "is started"),
        ("an old build", at(Utc::now() - TimeDelta::hours(25)), "refused: the build on Travis ended at"),
        ("a build of tomorrow", at(Utc::now() + TimeDelta::hours(1)), "refused: the build on Travis ended at"),
        (
            "a fork's commit",
            travis::passed("acme/styles", "main", &fork),
            "refused: refs/heads/main of acme/styles does",
        ),
        ("no branch", travis::passed("acme/styles", "gone", &base), "refused: acme/styles has no refs/heads/gone"),
        ("an option", travis::passed("acme/styles", "--upload-pack=id", &base), "refused: acme/styles has no"),
        ("no commit", travis::passed("acme/styles", "main", "HEAD"), "commit id"),
        ("no payload of Travis", json!({"hello": "world"}), "not a payload of Travis"),
    ];
    for (case, payload, told) in &cases {
        let (code, answer) = Request::new(payload).post(&app.base).await;
        assert_eq!(code, 202, "{case}: {answer}");
        let outcome = outcome(&app, &answer).await;
        assert!(outcome.contains(told), "{case}: {outcome}");
    }
    let builds: i64 = sqlx::query_scalar("select count(*) from build").fetch_one(&app.db).await.unwrap();
    assert_eq!(builds, 1);
    app.stop().await;
}

#[tokio::test]
async fn what_travis_did_not_sign_is_not_stored() {
    let app = App::start(&travis::pinned()).await;
    let payload = travis::passed("acme/styles", "main", &"a".repeat(40));
    let mut changed = Request::new(&payload);
    changed.form = travis::form(&payload.to_string().replace("main", "evil"));
    let bare = |signature: Option<&str>| Request {
        form: Request::new(&payload).form,
        signature: signature.map(str::to_owned),
    };
    let cases = [
        ("another key", Request::signed(&OTHER, &payload)),
        ("another payload", changed),
        ("no signature", bare(None)),
        ("no base64", bare(Some("dZYrPC!"))),
        ("a short one", bare(Some("AAAA"))),
        ("a signature of zeros", bare(Some(&("A".repeat(342) + "==")))),
    ];
    for (case, request) in cases {
        let (code, answer) = request.post(&app.base).await;
        assert_eq!(code, 401, "{case}: {answer}");
    }
    let no_form = Request { form: "payload".to_owned(), ..Request::new(&payload) };
    assert_eq!(no_form.post(&app.base).await.0, 401, "the empty payload is not signed");
    let stored: i64 = sqlx::query_scalar("select count(*) from delivery").fetch_one(&app.db).await.unwrap();
    assert_eq!(stored, 0);
    app.stop().await;
}

#[tokio::test]
async fn a_captured_webhook_counts_once_in_any_form() {
    let app = App::start(&travis::pinned()).await;
    let repo = app.github.repo("acme/styles");
    repo.write(".travis.yml", HELLO);
    let sha = repo.commit("Begin");
    Delivery::new("d-1", "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
    app.github.wait_for_end(&sha, "trainyard/push").await;
    let genuine = Request::new(&travis::passed("acme/styles", "main", &sha));
    let (code, answer) = genuine.post(&app.base).await;
    assert_eq!((code, &answer["state"]), (202, &json!("accepted")));
    assert_eq!(outcome(&app, &answer).await, "acme/styles#2");
    // The form is not signed, only the text in it.
    let other_form = Request { form: format!("x=1&{}", genuine.form), signature: genuine.signature.clone() };
    for captured in [genuine, other_form] {
        let (code, answer) = captured.post(&app.base).await;
        assert_eq!((code, &answer["state"]), (202, &json!("already processed")), "{answer}");
    }
    let builds: i64 = sqlx::query_scalar("select count(*) from build").fetch_one(&app.db).await.unwrap();
    assert_eq!(builds, 2);
    app.stop().await;
}

#[tokio::test]
async fn a_secret_of_github_does_not_speak_for_travis() {
    let app = App::start(&travis::pinned()).await;
    let payload = travis::passed("acme/styles", "main", &"a".repeat(40));
    let (code, answer) = Delivery::new("travis-4242-passed-0", "build", &payload).post(&app.base).await;
    assert_eq!(code, 202, "{answer}");
    let (source, outcome): (String, Option<String>) =
        sqlx::query_as("select source::text, outcome from delivery").fetch_one(&app.db).await.unwrap();
    assert_eq!((source.as_str(), outcome.as_deref()), ("github", Some("build events ask for nothing")));
    app.stop().await;
}

/// Serves pages with this `[travis]`.
async fn state(db: &sqlx::PgPool, config: &str) -> trainyard::web::State {
    trainyard::web::State { travis: trainyard::web::Travis::new(&toml::from_str(config).unwrap()), ..web::state(db) }
}

#[tokio::test]
async fn strangers_cannot_make_us_fetch_the_key_again_and_again() {
    let db = database::pool().await;
    let shutdown = tokio_util::sync::CancellationToken::new();
    let (address, asked, _travis) = travis::serve(vec![OURS.public.clone(), OTHER.public.clone()]).await;
    let config = format!("on_passed = \"smoke\"\nconfig_url = {address:?}");
    let (service, _serving) = web::serve(state(&db, &config).await, Default::default(), &shutdown).await;
    let base = format!("http://{service}");
    let payload = travis::passed("acme/styles", "main", &"a".repeat(40));
    assert_eq!(Request::new(&payload).post(&base).await.0, 202);
    for _ in 0..5 {
        assert_eq!(Request::signed(&OTHER, &payload).post(&base).await.0, 401);
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn without_a_key_or_a_wish_nothing_is_taken() {
    let db = database::pool().await;
    let shutdown = tokio_util::sync::CancellationToken::new();
    let payload = travis::passed("acme/styles", "main", &"a".repeat(40));
    let cases = [("", 404), ("on_passed = \"smoke\"\nconfig_url = \"http://127.0.0.1:9/config\"", 503)];
    for (config, code) in cases {
        let (service, _serving) = web::serve(state(&db, config).await, Default::default(), &shutdown).await;
        assert_eq!(Request::new(&payload).post(&format!("http://{service}")).await.0, code);
    }
    let wrong = |config: &str| toml::from_str::<trainyard::travis_ci::TravisConfig>(config).unwrap().check();
    for config in
        ["config_url = \"http://travis.example/config\"", "public_key = \"AAAA\"", "config_url = \"file:///k\""]
    {
        assert!(wrong(config).is_err(), "{config}");
    }
}

#[tokio::test]
async fn a_form_that_is_too_large_is_refused_by_its_length() {
    let state = state(&database::pool().await, &format!("on_passed = \"smoke\"\npublic_key = {:?}", OURS.public)).await;
    let signature = Request::new(&json!({})).signature.unwrap();
    let request = axum::http::Request::post("/webhooks/travis")
        .header("content-type", "application/x-www-form-urlencoded")
        .header("signature", signature)
        .body(axum::body::Body::from("x".repeat((4 << 20) + 1)))
        .unwrap();
    let answer = trainyard::web::router(state).oneshot(request).await.unwrap();
    assert_eq!(answer.status().as_u16(), 413);
}
