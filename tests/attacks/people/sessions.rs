//! Attacks on logins, sessions and tokens.

use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use trainyard::domain::{RepoId, Right};
use trainyard::store::people::{permissions, persons};

use crate::support::app::App;
use crate::support::github::{GitHub, number};
use crate::support::people::visitor::Visitor;
use crate::support::web::repo_named;

const PASSWORD: &str = "correct horse battery";
const CANCEL: &str = "/api/v1/repos/acme/secret/builds/1/cancel";

/// Starts a service with a private repository, whose operator is the local user anna, and whose reader is carl of GitHub.
async fn start() -> (App, RepoId) {
    let folder = tempfile::tempdir().unwrap();
    let github = GitHub::start(folder.path().join("github")).await;
    github.people.allow("acme/secret", "carl", "read");
    github.people.log_in(Some("carl"));
    let settings = github.login_settings();
    let app = App::start_in(folder, github, &settings).await;
    // The service has its tables by the time that it answers.
    app.get("/healthz").await;
    let repo = repo_named(&app.db, number("acme/secret").into(), "acme/secret", true).await;
    let hash = trainyard::passwords::hash(&PASSWORD.into()).unwrap();
    assert!(persons::insert_local(&app.db, "anna", &hash, false).await.unwrap());
    let anna = persons::granted(&app.db, "anna", None).await.unwrap().unwrap();
    permissions::grant(&app.db, anna, repo, Some(Right::Admin)).await.unwrap();
    (app, repo)
}

/// Logs anna in.
async fn anna(app: &App) -> Visitor {
    let anna = Visitor::new(&app.base);
    assert_eq!(anna.log_in("anna", PASSWORD).await.status().as_u16(), 303);
    assert_eq!(anna.status("/acme/secret").await, 200);
    anna
}

#[tokio::test]
async fn a_session_that_somebody_else_has_set_is_not_taken_over() {
    let (app, _) = start().await;
    // The attacker has a session, and puts its cookie, or one of his own making, into the victim's browser.
    let carl = Visitor::new(&app.base);
    assert_eq!(carl.log_in_with_github("/").await.status().as_u16(), 303);
    for planted in [carl.cookie("trainyard").unwrap(), "a-value-of-the-attacker".to_owned()] {
        let victim = Visitor::new(&app.base);
        victim.set_cookie("trainyard", &planted);
        assert_eq!(victim.log_in("anna", PASSWORD).await.status().as_u16(), 303);
        let own = victim.cookie("trainyard").unwrap();
        assert_ne!(own, planted);
        assert!(own.len() >= 43, "256 bits");
        let attacker = Visitor::new(&app.base);
        attacker.set_cookie("trainyard", &planted);
        assert!(!attacker.text("/").await.contains(">anna<"));
        assert_eq!(attacker.status("/acme/secret").await, 404, "what was planted is worth nothing");
    }
    app.stop().await;
}

#[tokio::test]
async fn a_session_changes_its_value_and_ends() {
    let (app, _) = start().await;
    let anna = anna(&app).await;
    let first = anna.cookie("trainyard").unwrap();
    let stored: Vec<u8> = sqlx::query_scalar("select digest from session").fetch_one(&app.db).await.unwrap();
    assert_eq!(stored, Sha256::digest(&first).to_vec(), "a copy of the database opens no session");
    let with = async |value: &str| {
        let visitor = Visitor::new(&app.base);
        visitor.set_cookie("trainyard", value);
        visitor.status("/api/v1/repos/acme/secret/builds").await
    };
    assert_eq!(with(&hex::encode(&stored)).await, 404);
    let set = async |sql: &'static str| {
        sqlx::query(sql).execute(&app.db).await.unwrap();
    };
    set("update session set changed_at = now() - interval '61 minutes'").await;
    assert_eq!(anna.status("/acme/secret").await, 200);
    let second = anna.cookie("trainyard").unwrap();
    assert_ne!(first, second);
    // Requests that were under way have the first value.
    assert_eq!((with(&first).await, with(&second).await), (200, 200));
    set("update session set changed_at = now() - interval '3 minutes'").await;
    assert_eq!((with(&first).await, with(&second).await), (404, 200));
    set("update session set seen_at = now() - interval '8 days'").await;
    assert_eq!(with(&second).await, 404, "it was idle for too long");
    set("update session set seen_at = now(), created_at = now() - interval '31 days'").await;
    assert_eq!(with(&second).await, 404, "it is too old");
    app.stop().await;
}

#[tokio::test]
async fn no_other_site_acts_in_a_persons_name() {
    let (app, _) = start().await;
    let anna = anna(&app).await;
    let csrf = anna.csrf("/").await;
    let other = self::anna(&app).await;
    let others = other.csrf("/").await;
    assert_ne!(csrf, others, "each session has its own text");
    let host = app.base.trim_start_matches("http://").to_owned();
    let ours = format!("http://{host}");
    let foreign: &[&[(&str, &str)]] = &[
        &[],
        &[("x-csrf-token", &csrf)],
        &[("sec-fetch-site", "same-origin")],
        &[("sec-fetch-site", "cross-site"), ("x-csrf-token", &csrf)],
        &[("sec-fetch-site", "same-site"), ("x-csrf-token", &csrf), ("origin", &ours)],
        &[("sec-fetch-site", "same-origin"), ("x-csrf-token", &others)],
        &[("origin", "https://evil.example"), ("x-csrf-token", &csrf)],
        &[("origin", "null"), ("x-csrf-token", &csrf)],
    ];
    for headers in foreign {
        let answer = anna.post_from(CANCEL, &[], headers).await;
        assert_eq!(answer.status().as_u16(), 403, "{headers:?}");
        let fields = [("csrf", csrf.as_str()), ("name", "evil"), ("scope", "admin"), ("days", "365")];
        if headers.first().is_none_or(|(name, value)| *name != "sec-fetch-site" || *value != "same-origin") {
            let answer = anna.post_from("/settings/tokens", &fields, headers).await;
            assert_eq!(answer.status().as_u16(), 403, "{headers:?}");
            assert_eq!(anna.post_from("/logout", &fields, headers).await.status().as_u16(), 403, "{headers:?}");
        }
    }
    for csrf in ["", others.as_str()] {
        let fields = [("csrf", csrf), ("name", "evil"), ("scope", "admin"), ("days", "365")];
        assert_eq!(anna.post("/settings/tokens", &fields).await.status().as_u16(), 403);
    }
    let made: i64 = sqlx::query_scalar("select count(*) from api_token").fetch_one(&app.db).await.unwrap();
    assert_eq!(made, 0);
    // From our own page it works, in a browser that sends either header. There is no such build.
    for own in [("sec-fetch-site", "same-origin"), ("origin", ours.as_str())] {
        assert_eq!(anna.post_from(CANCEL, &[], &[own, ("x-csrf-token", &csrf)]).await.status().as_u16(), 404);
    }
    // Nor does another site log a visitor in under its own name.
    let victim = Visitor::new(&app.base);
    let fields = [("name", "anna"), ("password", PASSWORD)];
    for headers in [&[][..], &[("sec-fetch-site", "cross-site")], &[("origin", "https://evil.example")]] {
        assert_eq!(victim.post_from("/login", &fields, headers).await.status().as_u16(), 403, "{headers:?}");
        assert_eq!(victim.cookie("trainyard"), None);
    }
    app.stop().await;
}

#[tokio::test]
async fn a_login_returns_to_no_other_site() {
    let (app, _) = start().await;
    for evil in [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example/",
        "/\t/evil.example",
        "/.//evil.example",
        "javascript:x",
    ] {
        let visitor = Visitor::new(&app.base);
        let fields = [("name", "anna"), ("password", PASSWORD), ("return_to", evil)];
        let answer = visitor.post("/login", &fields).await;
        assert_eq!((answer.status().as_u16(), answer.headers()["location"].to_str().unwrap()), (303, "/"), "{evil}");
        let written: String = url::form_urlencoded::byte_serialize(evil.as_bytes()).collect();
        let back = Visitor::new(&app.base).log_in_with_github(&written).await;
        assert_eq!(back.headers().get("location").map(|it| it.to_str().unwrap()), Some("/"), "{evil}");
        let page = visitor.text(&format!("/login?return_to={written}")).await;
        assert!(!page.contains("evil.example"), "{page}");
    }
    app.stop().await;
}

#[tokio::test]
async fn a_callback_counts_once_and_in_the_browser_that_began() {
    let (app, _) = start().await;
    let carl = Visitor::new(&app.base);
    let back = carl.to_github("/").await;
    let begun = carl.cookie("trainyard-login").unwrap();
    let refused = async |visitor: &Visitor, path: &str| {
        let answer = visitor.get(path).await;
        assert_eq!((answer.status().as_u16(), visitor.cookie("trainyard")), (403, None), "{path}");
    };
    // Another browser: with no login under way, with its own, and with a forged or a cut cookie.
    let other = Visitor::new(&app.base);
    refused(&other, &back).await;
    other.to_github("/").await;
    refused(&other, &back).await;
    for forged in ["x".to_owned(), begun[..begun.len() - 4].to_owned(), format!("AAAA{}", &begun[4..])] {
        other.set_cookie("trainyard-login", &forged);
        refused(&other, &back).await;
    }
    // The same browser with another state, or without any.
    let code = back.split("code=").nth(1).unwrap().split('&').next().unwrap();
    carl.set_cookie("trainyard-login", &begun);
    refused(&carl, &format!("/login/github/callback?code={code}&state=another")).await;
    carl.set_cookie("trainyard-login", &begun);
    refused(&carl, &format!("/login/github/callback?code={code}")).await;
    // The right one, once.
    carl.set_cookie("trainyard-login", &begun);
    assert_eq!(carl.get(&back).await.status().as_u16(), 303);
    let thief = Visitor::new(&app.base);
    thief.set_cookie("trainyard-login", &begun);
    refused(&thief, &back).await;
    // A code of somebody else, as if it had been caught, in a login of one's own: PKCE ties it to the other one.
    let caught = Visitor::new(&app.base).to_github("/").await;
    let code = caught.split("code=").nth(1).unwrap().split('&').next().unwrap();
    let own = thief.to_github("/").await;
    let state = own.split("state=").nth(1).unwrap();
    refused(&thief, &format!("/login/github/callback?code={code}&state={state}")).await;
    app.stop().await;
}

#[tokio::test]
async fn passwords_are_not_tried_without_end() {
    let (app, _) = start().await;
    let attacker = Visitor::new(&app.base);
    let mut statuses = Vec::new();
    for _ in 0..11 {
        statuses.push(attacker.log_in("anna", "wrong horse battery").await.status().as_u16());
    }
    assert_eq!(statuses, [vec![401; 10], vec![429]].concat());
    assert_eq!(attacker.log_in("ANNA", PASSWORD).await.status().as_u16(), 429, "the right one comes too late");
    // An unknown name takes as long as a known one, and gets the same answer.
    let time = async |name: &str| {
        let begin = Instant::now();
        for _ in 0..3 {
            assert_eq!(attacker.log_in(name, "wrong horse battery").await.status().as_u16(), 401);
        }
        begin.elapsed()
    };
    let hash = trainyard::passwords::hash(&PASSWORD.into()).unwrap();
    persons::insert_local(&app.db, "dora", &hash, false).await.unwrap();
    time("warm-up").await;
    let (known, unknown) = (time("dora").await, time("nobody").await);
    assert!(unknown > known / 3 && known > unknown / 3, "{known:?} and {unknown:?}");
    app.stop().await;
}

#[tokio::test]
async fn a_token_in_an_address_or_from_the_database_is_worth_nothing() {
    let (app, repo) = start().await;
    let person = persons::local(&app.db, "anna").await.unwrap().unwrap().0;
    let token = crate::support::people::token(&app.db, person.id, "t", Right::Admin, Some(&[repo])).await;
    let visitor = Visitor::new(&app.base);
    let path = "/api/v1/repos/acme/secret/builds";
    for query in ["token", "access_token", "authorization", "bearer"] {
        assert_eq!(visitor.status(&format!("{path}?{query}={token}")).await, 404, "{query}");
    }
    let ask = async |token: &str| {
        let answer = reqwest::Client::new().get(format!("{}{path}", app.base)).bearer_auth(token).send().await.unwrap();
        answer.status().as_u16()
    };
    assert_eq!(ask(&token).await, 200);
    let digest = Sha256::digest(&token);
    for wrong in [&hex::encode(digest), &token[1..], "", &format!("{token}x")] {
        assert!([401, 404].contains(&ask(wrong).await), "{wrong}");
    }
    // A cookie of a session is no token, and a token no cookie.
    let anna = anna(&app).await;
    assert_eq!(ask(&anna.cookie("trainyard").unwrap()).await, 401);
    visitor.set_cookie("trainyard", &token);
    assert_eq!(visitor.status("/acme/secret").await, 404);
    sqlx::query("update api_token set expires_at = now()").execute(&app.db).await.unwrap();
    assert_eq!(ask(&token).await, 401);
    app.stop().await;
}

#[tokio::test]
async fn pages_with_a_session_are_in_no_frame_and_in_no_shared_cache() {
    let (app, _) = start().await;
    let anna = anna(&app).await;
    for path in ["/", "/acme/secret", "/settings/tokens", "/login", "/runners", "/acme/none"] {
        let answer = anna.get(path).await;
        let header =
            |name: &str| answer.headers().get(name).map(|it| it.to_str().unwrap().to_owned()).unwrap_or_default();
        let policy = header("content-security-policy");
        assert!(policy.contains("frame-ancestors 'none'") && policy.contains("form-action 'self'"), "{path}: {policy}");
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(
            (header("x-frame-options"), header("referrer-policy")),
            ("DENY".into(), "same-origin".into()),
            "{path}"
        );
        let cache = header("cache-control");
        assert!(cache.contains("private") || cache.contains("no-store"), "{path}: {cache}");
    }
    let set = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let login = set
        .post(format!("{}/login", app.base))
        .header("sec-fetch-site", "same-origin")
        .body(format!("name=anna&password={}", PASSWORD.replace(' ', "+")))
        .send()
        .await
        .unwrap();
    let cookie = login.headers()["set-cookie"].to_str().unwrap();
    assert!(
        cookie.contains("; HttpOnly") && cookie.contains("; SameSite=Lax") && cookie.contains("Path=/"),
        "{cookie}"
    );
    app.stop().await;
}

#[tokio::test]
async fn a_private_repository_takes_a_stranger_as_long_as_none() {
    let (app, _) = start().await;
    // A person of GitHub who may read another repository, and asks for names.
    repo_named(&app.db, number("acme/mine").into(), "acme/mine", true).await;
    app.github.people.allow("acme/secret", "dave", "none");
    app.github.people.allow("acme/mine", "dave", "read");
    app.github.people.log_in(Some("dave"));
    let dave = Visitor::new(&app.base);
    assert_eq!(dave.log_in_with_github("/").await.status().as_u16(), 303);
    let stranger = Visitor::new(&app.base);
    let asked = app.github.people.asked().len();
    for visitor in [&dave, &stranger] {
        let mut times = [Duration::MAX; 2];
        for _ in 0..40 {
            for (path, time) in
                ["/api/v1/repos/acme/secret/builds", "/api/v1/repos/acme/nothing/builds"].iter().zip(&mut times)
            {
                let begin = Instant::now();
                assert_eq!(visitor.status(path).await, 404);
                *time = (*time).min(begin.elapsed());
            }
        }
        let [private, none] = times;
        let difference = private.abs_diff(none);
        assert!(difference < Duration::from_millis(1).max(none / 2), "{private:?} and {none:?}");
    }
    let later = app.github.people.asked();
    assert!(later[asked..].iter().all(|(repo, _)| repo != "acme/secret"), "no request asks GitHub");
    app.stop().await;
}
