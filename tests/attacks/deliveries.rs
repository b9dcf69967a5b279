//! Deliveries from those who know a webhook's secret, and from strangers who only reach its address.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Request, StatusCode, header};
use futures::StreamExt as _;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use trainyard::github::signature;
use trainyard::repo_keys::Seal;
use trainyard::store::sealed::webhook_secrets::StoredSecrets;
use trainyard::web;

use crate::support::app::App;
use crate::support::database;
use crate::support::git_host::Repo;
use crate::support::github::number;
use crate::support::payload::{self, Delivery};
use crate::support::web::{SECRET, secrets, serve, state, stored_secrets};

const HELLO: &str = "language: shell\nscript: echo hello\n";

/// The victim's repository, with a pull request from a fork and other refs.
struct Victim {
    app: App,
    repo: Repo,
    /// Commit of the fork. As on GitHub, it is there under the name of the victim's repository.
    fork: String,
    /// Commit of a branch that is not merged.
    side: String,
    /// Merge commit of the pull request.
    base: String,
}

async fn victim() -> Victim {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    repo.write(".travis.yml", HELLO);
    let base = repo.commit("Begin");
    repo.git(&["checkout", "-q", "-b", "side"]);
    let side = repo.commit("Not merged");
    repo.git(&["checkout", "-q", "-b", "evil", "main"]);
    repo.write(".travis.yml", "language: shell\nscript: env\n");
    repo.git(&["add", "--all"]);
    repo.git(&["commit", "-q", "-m", "Evil"]);
    let fork = repo.head();
    repo.git(&["checkout", "-q", "main"]);
    repo.open_pull_request(7, &base, &fork);
    Victim { app, repo, fork, side, base }
}

#[tokio::test]
async fn a_forged_delivery_gives_no_build_and_changes_no_repository() {
    let victim = victim().await;
    let Victim { app, repo, fork, side, base } = &victim;
    Delivery::new("genuine", "push", &payload::push(&app.github, repo, "main")).post(&app.base).await;
    assert_eq!(app.outcome("genuine").await, "acme/styles#1");
    let stored = repository(&app.db).await;

    let push = |change: &dyn Fn(&mut Value)| {
        let mut push = payload::pushed(&app.github, repo, "main");
        change(&mut push);
        ("push", push)
    };
    let commit = |reference: &str, sha: &str| {
        push(&|push| {
            push["ref"] = reference.into();
            push["after"] = sha.into();
            push["head_commit"]["id"] = sha.into();
        })
    };
    let clone_url = |url: &str| push(&|push| push["repository"]["clone_url"] = url.into());
    let own_pull = |branch: &str| {
        let mut pull = payload::pull_request(&app.github, repo, 7, base, fork);
        pull["pull_request"]["head"] = json!({"ref": branch, "sha": fork, "repo": {"full_name": "acme/styles"}});
        ("pull_request", pull)
    };
    repo.git(&["tag", "v1", base]);
    repo.git(&["push", "-q", "origin", "v1"]);
    app.github.repo("evil/styles").commit("Evil");
    let port = app.github.address.port();
    let unsaid = "0123456789abcdef0123456789abcdef01234567";
    // What is forged, the payload, and the words of the refusal.
    let cases: Vec<(&str, (&str, Value), &str)> = vec![
        ("another host", clone_url("http://evil.example/acme/styles.git"), "is not at"),
        ("another port", clone_url("http://127.0.0.1:1/acme/styles.git"), "is not at"),
        ("another scheme", clone_url(&format!("https://127.0.0.1:{port}/acme/styles.git")), "is not at"),
        ("a host that begins alike", clone_url(&format!("http://127.0.0.1:{port}@evil.example/x.git")), "is not at"),
        ("a file", clone_url("file:///etc"), "is not at"),
        ("a command", clone_url("ext::sh -c id"), "is not at"),
        ("an option", clone_url("--upload-pack=id"), "is not at"),
        ("ssh", clone_url("git@127.0.0.1:acme/styles.git"), "is not at"),
        ("the victim's number", push(&|p| p["repository"]["full_name"] = "evil/styles".into()), "but GitHub has"),
        ("the victim's name", push(&|p| p["repository"]["id"] = 1.into()), "but GitHub has"),
        ("no repository", push(&|p| p["repository"]["full_name"] = "acme/none".into()), "does not confirm the name"),
        ("a fork's commit on main", commit("refs/heads/main", fork), "refs/heads/main of acme/styles does not have"),
        ("another branch's commit", commit("refs/heads/main", side), "refs/heads/main of acme/styles does not have"),
        ("no commit", commit("refs/heads/main", unsaid), "refs/heads/main of acme/styles is at another commit"),
        ("no branch", commit("refs/heads/gone", base), "has no refs/heads/gone"),
        ("all branches", commit("refs/heads/*", base), "has no refs/heads/*"),
        ("the end of a branch's name", commit("refs/heads/ain", base), "has no refs/heads/ain"),
        ("an option as a branch", commit("refs/heads/--upload-pack=id", base), "has no refs/heads/--upload-pack"),
        ("a way out of the refs", commit("refs/heads/../../config", base), "has no refs/heads/.."),
        ("two lines", commit("refs/heads/a\nrefs/heads/main", base), "has no refs/heads/a"),
        ("no tag", commit("refs/tags/v9", base), "has no refs/tags/v9"),
        ("a tag at another commit", commit("refs/tags/v1", fork), "refs/tags/v1 of acme/styles does not have"),
        ("a fork's pull request as one of the team", own_pull("main"), "refs/heads/main of acme/styles does not have"),
        ("one from no branch", own_pull("watercolour"), "has no refs/heads/watercolour"),
    ];
    for (place, (forged, (event, payload), _)) in cases.iter().enumerate() {
        let (code, said) = Delivery::new(&format!("forged-{place}"), event, payload).post(&app.base).await;
        assert_eq!(code, 202, "{forged}: {said}");
    }
    for (place, (forged, _, words)) in cases.iter().enumerate() {
        let outcome = app.outcome(&format!("forged-{place}")).await;
        let is_refused = outcome.starts_with("refused: ") || outcome.starts_with("no build: ");
        assert!(is_refused && outcome.contains(words), "{forged}: {outcome}");
    }
    let builds: i64 = sqlx::query_scalar("select count(*) from build").fetch_one(&app.db).await.unwrap();
    assert_eq!(builds, 1, "a forged delivery was built");
    assert_eq!(repository(&app.db).await, stored, "a forged delivery changed the repository");
    victim.app.stop().await;
}

/// Returns the facts of all stored repositories.
async fn repository(db: &PgPool) -> Vec<(i64, String, String, String)> {
    sqlx::query_as("select github_id, owner, name, clone_url from repo order by id").fetch_all(db).await.unwrap()
}

#[tokio::test]
async fn an_address_in_a_payload_leads_to_no_other_repository() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    repo.write(".travis.yml", HELLO);
    repo.commit("Begin");
    app.github.repo("evil/styles").commit("Evil");
    let mut push = payload::push(&app.github, &repo, "main");
    push["repository"]["clone_url"] = app.github.clone_url("evil/styles").into();
    Delivery::new("d", "push", &push).post(&app.base).await;
    assert_eq!(app.outcome("d").await, "acme/styles#1");
    let own = (i64::from(number("acme/styles")), "acme".into(), "styles".into(), app.github.clone_url("acme/styles"));
    assert_eq!(repository(&app.db).await, [own]);
    assert_eq!(app.github.git.saw_token("evil/styles"), None, "it was fetched");
    app.stop().await;
}

#[tokio::test]
async fn honest_races_are_told_from_forgeries() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    repo.write(".travis.yml", HELLO);
    repo.commit("First");
    let first = payload::push(&app.github, &repo, "main");
    repo.commit("Second, at once");
    let second = payload::push(&app.github, &repo, "main");
    let lost = payload::push(&app.github, &repo, "main");
    repo.git(&["commit", "-q", "--amend", "--allow-empty", "-m", "Rewritten"]);
    let rewritten = payload::push(&app.github, &repo, "main");
    // The first commit is still in the history of the branch. The second is not, and its build would tell nobody
    // anything.
    for (id, push, expected) in [
        ("first", &first, "acme/styles#1"),
        ("second", &second, "refused: refs/heads/main of acme/styles does not have"),
        ("rewritten", &rewritten, "acme/styles#2"),
    ] {
        Delivery::new(id, "push", push).post(&app.base).await;
        let outcome = app.outcome(id).await;
        assert!(outcome.starts_with(expected), "{id}: {outcome}");
    }
    // It is on another branch by now, which GitHub confirms.
    repo.git(&["push", "-q", "origin", &format!("{}:refs/heads/rescued", lost["after"].as_str().unwrap())]);
    let mut rescued = lost;
    rescued["ref"] = "refs/heads/rescued".into();
    Delivery::new("rescued", "push", &rescued).post(&app.base).await;
    assert_eq!(app.outcome("rescued").await, "acme/styles#3");
    app.stop().await;
}

#[tokio::test]
async fn a_renamed_repository_keeps_its_builds_once_github_confirms_the_name() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    repo.write(".travis.yml", HELLO);
    repo.commit("Begin");
    let before = payload::push(&app.github, &repo, "main");
    Delivery::new("before", "push", &before).post(&app.base).await;
    assert_eq!(app.outcome("before").await, "acme/styles#1");

    app.github.rename("acme/styles", "acme/looks");
    let mut late = before.clone();
    late["repository"]["pushed_at"] = 1.into();
    sqlx::raw_sql("update repo set name = 'forgotten'").execute(&app.db).await.unwrap();
    Delivery::new("late", "push", &late).post(&app.base).await;
    assert_eq!(app.outcome("late").await, "no build: acme/styles is called acme/looks by now");
    let mut after = before.clone();
    after["repository"]["full_name"] = "acme/looks".into();
    after["repository"]["clone_url"] = app.github.clone_url("acme/looks").into();
    Delivery::new("after", "push", &after).post(&app.base).await;
    assert_eq!(app.outcome("after").await, "acme/looks#2");
    assert_eq!(repository(&app.db).await.len(), 1);
    app.stop().await;
}

/// Waits until a delivery has been tried this many times. The pauses between its tries are skipped.
async fn wait_for_tries(app: &App, delivery: &str, wanted: i32) {
    for _ in 0..600 {
        let (tries, is_waiting): (i32, bool) = sqlx::query_as(
            "select tries, not_before between now() and now() + interval '130 s' and last_error is not null
             from delivery where id = $1 and done_at is null",
        )
        .bind(delivery)
        .fetch_one(&app.db)
        .await
        .unwrap();
        if is_waiting && tries >= wanted {
            return;
        }
        if is_waiting {
            sqlx::query("update delivery set not_before = now() where id = $1")
                .bind(delivery)
                .execute(&app.db)
                .await
                .unwrap();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the delivery {delivery} is not tried {wanted} times");
}

#[tokio::test]
async fn a_delivery_waits_for_a_github_that_does_not_answer() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    repo.write(".travis.yml", HELLO);
    repo.commit("Begin");
    let first = Delivery::new("first", "push", &payload::push(&app.github, &repo, "main"));
    app.github.keep_silent(true);
    first.post(&app.base).await;
    wait_for_tries(&app, "first", 5).await;
    // From here on, a try does not count.
    for _ in 0..3 {
        sqlx::query("update delivery set not_before = now()").execute(&app.db).await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        wait_for_tries(&app, "first", 5).await;
    }
    let (tries, failure): (i32, String) =
        sqlx::query_as("select tries, last_error from delivery").fetch_one(&app.db).await.unwrap();
    assert!(tries <= 6 && failure.starts_with("GitHub does not confirm the name acme/styles"), "{tries}: {failure}");
    app.github.keep_silent(false);
    // A redelivery makes it due.
    first.post(&app.base).await;
    assert_eq!(app.outcome("first").await, "acme/styles#1");
    app.stop().await;
}

#[tokio::test]
async fn a_redelivery_builds_what_the_token_could_not_see_before() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    repo.write(".travis.yml", HELLO);
    repo.commit("Begin");
    let push = Delivery::new("hidden", "push", &payload::push(&app.github, &repo, "main"));
    let hidden = repo.bare.with_extension("hidden");
    std::fs::rename(&repo.bare, &hidden).unwrap();
    push.post(&app.base).await;
    let told = app.outcome("hidden").await;
    assert!(told.starts_with("no build: GitHub does not confirm the name acme/styles"), "{told}");
    std::fs::rename(&hidden, &repo.bare).unwrap();
    assert!(!push.post(&app.base).await.1.contains("already processed"));
    assert_eq!(app.outcome("hidden").await, "acme/styles#1");
    app.stop().await;
}

#[tokio::test]
async fn a_captured_body_is_built_once() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    repo.write(".travis.yml", HELLO);
    repo.commit("Deploy the old version");
    let push = payload::push(&app.github, &repo, "main");
    let genuine = Delivery::new("genuine", "push", &push);
    genuine.post(&app.base).await;
    assert_eq!(app.outcome("genuine").await, "acme/styles#1");
    // GitHub's own redelivery has the same id.
    assert!(genuine.post(&app.base).await.1.contains("already processed"));
    for (id, event) in [("replayed", "push"), ("again", "push")] {
        let captured = Delivery { id: id.to_owned(), event, ..Delivery::new("", "push", &push) };
        assert_eq!(captured.post(&app.base).await.0, 202);
        assert_eq!(app.outcome(id).await, "refused: it repeats the body of the delivery genuine");
    }
    // The event's header is not signed. It must not turn a body into something else.
    let other = Delivery { id: "other".to_owned(), event: "pull_request", ..Delivery::new("", "push", &push) };
    other.post(&app.base).await;
    assert!(app.outcome("other").await.contains("not a pull_request payload"));
    let builds: i64 = sqlx::query_scalar("select count(*) from build").fetch_one(&app.db).await.unwrap();
    assert_eq!(builds, 1);
    app.stop().await;
}

// --- secrets of owners and repositories ---

async fn send(state: &web::State, scope: &str, secret: &str, id: &str, body: &[u8]) -> StatusCode {
    let request = Request::post(format!("/webhooks/github{scope}"))
        .header("x-github-delivery", id)
        .header("x-github-event", "push")
        .header("x-hub-signature-256", signature::sign(secret.as_bytes(), body))
        .body(Body::from(body.to_vec()))
        .unwrap();
    web::router(state.clone()).oneshot(request).await.unwrap().status()
}

/// Returns a push that asks for a build of a repository.
fn push_of(repo: &str) -> Vec<u8> {
    let sha = "0123456789abcdef0123456789abcdef01234567";
    let push = json!({
        "ref": "refs/heads/main", "before": sha, "after": sha, "head_commit": null,
        "repository": {"id": 1, "full_name": repo, "clone_url": "https://github.example/x.git"},
    });
    serde_json::to_vec(&push).unwrap()
}

#[tokio::test]
async fn a_secret_is_good_for_its_own_repositories_alone() {
    let db = database::pool().await;
    let stored = stored_secrets(&db);
    for (scope, secret) in
        [("stored", "first-first-first"), ("stored", "second-second"), ("ended", "ended-1"), ("ended", "ended-2")]
    {
        assert!(stored.change(scope, secret).await.unwrap());
    }
    // GitHub may still have the first one.
    assert!(!stored.change("stored", "third-third").await.unwrap());
    assert!(stored.end_previous("ended").await.unwrap());
    assert!(stored.change("removed", "removed-1").await.unwrap());
    let other_server = StoredSecrets::new(db.clone(), Arc::new(Seal::new(&[8; 32]).unwrap()));
    for scope in ["sealed", "acme/sealed", "acme/styles", "mixed"] {
        assert!(other_server.change(scope, "sealed-sealed").await.unwrap());
    }
    assert!(stored.change("mixed", "mixed-mixed").await.unwrap());
    assert!(stored.remove("removed").await.unwrap());
    let config = "webhook_secret = 'everyone'\n\
                  webhook_secrets = { acme = 'of acme', 'Acme/Styles' = ['new', 'old'], empty = '' }";
    let state = web::State { webhook_secrets: secrets(&db, config), ..state(&db) };
    // The address of the webhook, the secret, the repository, and the answer.
    let cases = [
        ("", "everyone", "other/repo", 202),
        ("", "everyone", "acme/looks", 403),
        ("", "everyone", "acme/styles", 403),
        ("", "everyone", "ACME/STYLES", 403),
        ("", "everyone", "stored/repo", 403),
        ("", "of acme", "acme/looks", 401),
        ("/acme", "of acme", "acme/looks", 202),
        ("/ACME", "of acme", "Acme/Looks", 202),
        ("/acme", "of acme", "acme/styles", 403),
        ("/acme", "of acme", "other/repo", 403),
        ("/acme", "everyone", "acme/looks", 401),
        ("/acme/styles", "new", "acme/styles", 202),
        ("/acme/styles", "old", "acme/styles", 202),
        ("/acme/styles", "older", "acme/styles", 401),
        ("/acme/styles", "of acme", "acme/styles", 401),
        ("/acme/styles", "everyone", "acme/styles", 401),
        ("/acme/styles", "new", "acme/styles2", 403),
        ("/acme/styles", "new", "other/styles", 403),
        ("/stored", "first-first-first", "stored/repo", 202),
        ("/stored", "second-second", "stored/repo", 202),
        ("/ended", "ended-1", "ended/repo", 401),
        ("/ended", "ended-2", "ended/repo", 202),
        ("/removed", "removed-1", "removed/repo", 401),
        ("/empty", "", "empty/repo", 401),
        ("/sealed", "sealed-sealed", "sealed/repo", 401),
        ("/mixed", "sealed-sealed", "mixed/repo", 401),
        ("/mixed", "mixed-mixed", "mixed/repo", 202),
        ("/acme/sealed", "sealed-sealed", "acme/sealed", 401),
        ("/acme", "of acme", "acme/sealed", 403),
        ("", "everyone", "sealed/repo", 403),
        ("/unknown", "everyone", "unknown/repo", 401),
        ("/..", "everyone", "other/repo", 401),
        ("/acme/..", "everyone", "acme/looks", 401),
    ];
    for (place, (scope, secret, repo, answer)) in cases.into_iter().enumerate() {
        let status = send(&state, scope, secret, &format!("case-{place}"), &push_of(repo)).await;
        assert_eq!(status.as_u16(), answer, "{scope} {secret:?} {repo}");
    }
    let taken: i64 = sqlx::query_scalar("select count(*) from delivery").fetch_one(&db).await.unwrap();
    assert_eq!(taken as usize, cases.iter().filter(|(.., answer)| *answer == 202).count());
    let clear: Vec<Vec<u8>> = sqlx::query_scalar("select secret from webhook_secret").fetch_all(&db).await.unwrap();
    assert!(clear.iter().all(|sealed| !sealed.windows(6).any(|part| part == b"second")), "a secret is in the clear");
}

// --- strangers ---

#[tokio::test]
async fn a_request_that_cannot_be_githubs_is_refused_before_its_body_is_read() {
    let state = state(&database::pool().await);
    let good = signature::sign(SECRET.as_bytes(), b"{}");
    let hex = &good["sha256=".len()..];
    let (long, upper, short) = (format!("{good}00"), good.replace("sha256", "SHA256"), &good[..good.len() - 2]);
    let (bare, spaced, letters) = (hex.to_owned(), format!("sha256= {hex}"), format!("sha256={}", "g".repeat(64)));
    // The signature, the delivery's id, the event, the address, and the answer.
    let cases = [
        (None, Some("id"), Some("push"), "", 401),
        (Some(""), Some("id"), Some("push"), "", 401),
        (Some("sha256="), Some("id"), Some("push"), "", 401),
        (Some("sha1=0123"), Some("id"), Some("push"), "", 401),
        (Some(&bare), Some("id"), Some("push"), "", 401),
        (Some(&long), Some("id"), Some("push"), "", 401),
        (Some(short), Some("id"), Some("push"), "", 401),
        (Some(&upper), Some("id"), Some("push"), "", 401),
        (Some(&spaced), Some("id"), Some("push"), "", 401),
        (Some(&letters), Some("id"), Some("push"), "", 401),
        (Some(&good), None, Some("push"), "", 400),
        (Some(&good), Some("a b"), Some("push"), "", 400),
        (Some(&good), Some("id"), None, "", 400),
        (Some(&good), Some("id"), Some(""), "", 400),
        (Some(&good), Some("id"), Some("push"), "/nobody", 401),
        (Some(&good), Some("id"), Some("push"), "/nobody/nothing", 401),
    ];
    for (signature, id, event, scope, answer) in cases {
        let read = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&read);
        let body = futures::stream::repeat_with(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok::<_, std::convert::Infallible>(Bytes::from_static(&[b' '; 1024]))
        });
        let mut request = Request::post(format!("/webhooks/github{scope}"));
        for (name, value) in [("x-hub-signature-256", signature), ("x-github-delivery", id), ("x-github-event", event)]
        {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        let request = request.body(Body::from_stream(body.take(30_000))).unwrap();
        let status = web::router(state.clone()).oneshot(request).await.unwrap().status();
        assert_eq!(status.as_u16(), answer, "{signature:?} {id:?} {event:?} {scope}");
        assert_eq!(read.load(Ordering::Relaxed), 0, "the body was read: {signature:?} {id:?} {event:?}");
    }
}

/// Returns a request whose headers are fine, with this body.
fn fine(body: Body) -> Request<Body> {
    Request::post("/webhooks/github")
        .header("x-github-delivery", "id")
        .header("x-github-event", "push")
        .header("x-hub-signature-256", signature::sign(b"a guess", b"{}"))
        .body(body)
        .unwrap()
}

fn pieces(count: usize, size: usize) -> Body {
    let piece = Bytes::from(vec![b' '; size]);
    Body::from_stream(futures::stream::repeat(Ok::<_, std::convert::Infallible>(piece)).take(count))
}

#[tokio::test]
async fn bodies_have_a_bound_of_size_and_of_memory() {
    const PIECE: usize = 16 << 10;
    let db = database::pool().await;
    let ask = async |state: &web::State, body: Body| web::router(state.clone()).oneshot(fine(body)).await.unwrap();
    // One more than 25 MiB, announced and unannounced.
    let roomy = state(&db);
    assert_eq!(ask(&roomy, Body::from(vec![b' '; (25 << 20) + 1])).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(ask(&roomy, pieces(26, 1 << 20)).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
    // Bodies that never end take nearly all of the room.
    // A quarter of the room is for small bodies.
    let room = web::WebhookRoom::of(64 * PIECE * 4 / 3, Duration::from_secs(600));
    let small = web::State { webhook_room: room, ..roomy };
    let sent = Arc::new(AtomicUsize::new(0));
    let mut endless = JoinSet::new();
    for _ in 0..3 {
        let sent = Arc::clone(&sent);
        let started = futures::stream::repeat_with(move || {
            sent.fetch_add(1, Ordering::Relaxed);
            Ok::<_, std::io::Error>(Bytes::from_static(&[b' '; PIECE]))
        });
        let body = Body::from_stream(started.take(20).chain(futures::stream::pending()));
        endless.spawn(web::router(small.clone()).oneshot(fine(body)));
    }
    while sent.load(Ordering::Relaxed) < 60 {
        tokio::task::yield_now().await;
    }
    let refused = ask(&small, pieces(5, PIECE)).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key(header::RETRY_AFTER));
    // A small one that announces its size has room of its own.
    assert_eq!(ask(&small, Body::from(vec![b' '; 20 * PIECE])).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(ask(&small, Body::from(vec![b' '; (1 << 20) + 1])).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    // A smaller one still fits, and the room is free again when they are gone.
    assert_eq!(ask(&small, pieces(4, PIECE)).await.status(), StatusCode::UNAUTHORIZED);
    endless.shutdown().await;
    assert_eq!(ask(&small, pieces(64, PIECE)).await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_body_that_comes_too_slowly_is_given_up() {
    let db = database::pool().await;
    let state = web::State { webhook_room: web::WebhookRoom::of(1 << 20, Duration::from_millis(50)), ..state(&db) };
    let slow = futures::stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        Some((Ok::<_, std::io::Error>(Bytes::from_static(b" ")), ()))
    });
    let answer = web::router(state).oneshot(fine(Body::from_stream(slow))).await.unwrap();
    assert_eq!(answer.status(), StatusCode::REQUEST_TIMEOUT);
    assert!(!answer.into_body().collect().await.unwrap().to_bytes().is_empty());
}

// --- connections ---

async fn server(bounds: web::Bounds, shutdown: &CancellationToken) -> (std::net::SocketAddr, JoinSet<()>) {
    serve(state(&database::pool().await), bounds, shutdown).await
}

/// Reads until the server closes the connection, which it has to do in time.
async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let read = stream.read_to_end(&mut text);
    let ended = tokio::time::timeout(Duration::from_secs(20), read).await.expect("the server closes the connection");
    // A reset is an end, too.
    let _ = ended;
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test]
async fn a_connection_without_a_whole_request_is_closed() {
    let bounds = web::Bounds { headers: Duration::from_millis(200), ..web::Bounds::default() };
    let shutdown = CancellationToken::new();
    let (address, _serving) = server(bounds, &shutdown).await;
    for sent in ["", "GET /healthz HTTP/1.1\r\nhost: x\r\n", "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        let told = read_to_end(&mut stream).await;
        // A whole request is answered first, and then the idle connection ends.
        assert_eq!(told.contains("200 OK"), sent.ends_with("\r\n\r\n"), "{sent:?}: {told}");
    }
}

#[tokio::test]
async fn further_connections_wait_until_others_end() {
    let bounds = web::Bounds { connections: 2, ..web::Bounds::default() };
    let shutdown = CancellationToken::new();
    let (address, _serving) = server(bounds, &shutdown).await;
    let first = TcpStream::connect(address).await.unwrap();
    let mut second = TcpStream::connect(address).await.unwrap();
    second.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut start = [0; 15];
    second.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200 OK");
    let mut third = TcpStream::connect(address).await.unwrap();
    third.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(300), third.readable()).await;
    assert!(early.is_err(), "a third connection was served");
    drop(first);
    assert!(read_to_end(&mut third).await.starts_with("HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn a_shutdown_ends_idle_connections_and_the_server() {
    let shutdown = CancellationToken::new();
    let (address, mut serving) = server(web::Bounds::default(), &shutdown).await;
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut start = [0; 15];
    idle.read_exact(&mut start).await.unwrap();
    shutdown.cancel();
    read_to_end(&mut idle).await;
    let ended = tokio::time::timeout(Duration::from_secs(20), serving.join_next()).await;
    assert!(matches!(ended, Ok(Some(Ok(())))), "{ended:?}");
    assert!(TcpStream::connect(address).await.is_err());
}
