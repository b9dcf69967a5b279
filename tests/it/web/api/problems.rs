//! Problems, tags and idempotency keys.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use trainyard::domain::Right;
use trainyard::store::api::keyed_requests;

use super::world::{Answer, World, in_browser, job, request};
use crate::support::people;

/// Checks that an answer is a problem of RFC 9457 about this path.
fn assert_problem(answer: &Answer, status: u16, kind: &str, path: &str) {
    assert_eq!(answer.status.as_u16(), status, "{path}: {answer:?}");
    assert_eq!(answer.header("content-type"), "application/problem+json", "{path}");
    let body = &answer.body;
    assert_eq!(body["type"], format!("urn:trainyard:problem:{kind}"), "{path}");
    assert_eq!((&body["status"], &body["instance"]), (&json!(status), &json!(path)), "{path}");
    assert!(body["title"].is_string() && body["detail"] == body["error"], "{body}");
}

#[tokio::test]
async fn every_error_is_a_problem() {
    let world = World::new().await;
    world.finished(world.open).await;
    let (_, token) = world.person("ada", Right::Write).await;
    let read = [
        ("/api/v1/nothing", 404, "not-found"),
        ("/api/v1/repos/acme/nothing/builds", 404, "not-found"),
        ("/api/v1/repos/acme/open/builds/x", 404, "not-found"),
        ("/api/v1/repos/acme/open/builds?limit=x", 400, "bad-request"),
        ("/api/v1/repos/acme/open/builds?branch=%00", 400, "bad-request"),
        ("/api/v1/builds?before=99999999999999999999", 400, "bad-request"),
        ("/api/v1/jobs/x/log?offset=y", 404, "not-found"),
        ("/api/v1/jobs/1/log?offset=y", 400, "bad-request"),
        ("/api/v1/audit", 403, "forbidden"),
        ("/api/v1/repos/acme/open/variables", 403, "forbidden"),
    ];
    for (path, status, kind) in read {
        assert_problem(&world.get(path, &token).await, status, kind, path.split('?').next().unwrap());
    }
    assert_problem(&world.get("/api/v1/me", "wrong").await, 401, "wrong-token", "/api/v1/me");
    assert_problem(&world.get("/api/v1/me", "").await, 401, "no-token", "/api/v1/me");
    let builds = "/api/v1/repos/acme/open/builds";
    let patched = world.send(request("PATCH", builds, &token).body(Body::empty()).unwrap()).await;
    assert_problem(&patched, 405, "wrong-method", builds);
    assert_eq!(patched.header("allow"), "GET,HEAD,POST");
    for (body, status, kind) in
        [("not JSON".to_owned(), 400, "bad-request"), (format!("\"{}\"", "x".repeat(300 << 10)), 413, "too-large")]
    {
        let answer = world.send(request("POST", builds, &token).body(Body::from(body)).unwrap()).await;
        assert_problem(&answer, status, kind, builds);
    }
    let restart = "/api/v1/repos/acme/open/builds/1/approve";
    assert_problem(
        &world.send(request("POST", restart, &token).body(Body::empty()).unwrap()).await,
        409,
        "conflict",
        restart,
    );
    let (person, _) = world.person("grace", Right::Write).await;
    let session = people::session(world.db(), person.id).await;
    let mut foreign = in_browser("POST", restart, &session).body(Body::empty()).unwrap();
    foreign.headers_mut().remove("x-csrf-token");
    assert_problem(&world.send(foreign).await, 403, "foreign", restart);
    // Pages have errors for people.
    let page = world.get("/acme/nothing", "").await;
    assert_eq!((page.status.as_u16(), page.header("content-type")), (404, "text/html; charset=utf-8"));
    world.db().close().await;
    let away = world.get("/api/v1/builds", "").await;
    assert_problem(&away, 503, "unavailable", "/api/v1/builds");
    assert_eq!(away.header("retry-after"), "5");
}

#[tokio::test]
async fn a_read_that_the_client_has_is_not_sent_again() {
    let world = World::new().await;
    let done = world.finished(world.open).await;
    let path = "/api/v1/repos/acme/open/builds";
    let first = world.get(path, "").await;
    let tag = first.header("etag").to_owned();
    assert!(tag.starts_with("W/\""), "{tag}");
    let again = |tag: &str| request("GET", path, "").header("if-none-match", tag).body(Body::empty()).unwrap();
    let known = world.send(again(&format!("\"other\", {tag}"))).await;
    assert_eq!(
        (known.status, known.header("etag"), &known.body),
        (StatusCode::NOT_MODIFIED, tag.as_str(), &Value::Null)
    );
    world.build(world.open, &[job("next")]).await;
    let changed = world.send(again(&tag)).await;
    assert_eq!(changed.status, StatusCode::OK);
    assert_ne!(changed.header("etag"), tag);
    // A log is a stream, and an error is not a result.
    assert_eq!(world.get(&format!("/api/v1/jobs/{}/log", done.id), "").await.header("etag"), "");
    assert_eq!(world.get("/api/v1/repos/acme/none", "").await.header("etag"), "");
}

/// A request for a build of a branch, with an idempotency key.
fn ask(token: &str, key: &str, branch: &str) -> Request<Body> {
    request("POST", "/api/v1/repos/acme/secret/builds", token)
        .header("idempotency-key", key)
        .body(Body::from(json!({ "branch": branch }).to_string()))
        .unwrap()
}

async fn requests(world: &World) -> i64 {
    sqlx::query_scalar("select count(*) from delivery where source = 'request'").fetch_one(world.db()).await.unwrap()
}

#[tokio::test]
async fn a_request_with_a_key_is_carried_out_once() {
    let world = World::new().await;
    let (_, ada) = world.person("ada", Right::Write).await;
    let (_, grace) = world.person("grace", Right::Write).await;
    let first = world.send(ask(&ada, "k1", "main")).await;
    assert_eq!((first.status.as_u16(), first.header("idempotency-replayed")), (202, ""));
    let again = world.send(ask(&ada, "k1", "main")).await;
    assert_eq!((again.status, &again.body), (first.status, &first.body));
    assert_eq!((again.header("idempotency-replayed"), again.header("content-type")), ("true", "application/json"));
    assert_eq!(requests(&world).await, 1);
    let other = world.send(ask(&ada, "k1", "next")).await;
    assert_problem(&other, 422, "other-request", "/api/v1/repos/acme/secret/builds");
    // A key belongs to its sender, and to its route.
    assert_eq!(world.send(ask(&grace, "k1", "main")).await.header("idempotency-replayed"), "");
    assert_eq!(requests(&world).await, 2);
    let cancel = request("POST", "/api/v1/repos/acme/secret/builds/9/cancel", &ada).header("idempotency-key", "k1");
    assert_problem(
        &world.send(cancel.body(Body::empty()).unwrap()).await,
        404,
        "not-found",
        "/api/v1/repos/acme/secret/builds/9/cancel",
    );
    let changes: i64 = sqlx::query_scalar("select count(*) from audit where what = 'request a build'")
        .fetch_one(world.db())
        .await
        .unwrap();
    assert_eq!(changes, 2, "an answer that is given again is not another change");
    for key in ["", "é", &"x".repeat(256)] {
        assert_eq!(world.send(ask(&ada, key, "main")).await.status, 400, "{key}");
    }
    // The answer with a token is not kept.
    let session = people::session(world.db(), people::person(world.db(), 3, "ada").await.id).await;
    let token =
        in_browser("POST", "/api/v1/tokens", &session).header("idempotency-key", "k").body("{}".into()).unwrap();
    assert_eq!(world.send(token).await.status, 400);
}

#[tokio::test]
async fn requests_with_a_key_that_come_together_make_one_change() {
    let world = World::new().await;
    let (_, token) = world.person("ada", Right::Write).await;
    let sent = (0..8).map(|_| world.send(ask(&token, "k", "main")));
    let mut statuses: Vec<u16> =
        futures::future::join_all(sent).await.iter().map(|answer| answer.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses[0], 202);
    assert!(statuses[1..].iter().all(|status| *status == 409), "{statuses:?}");
    assert_eq!(requests(&world).await, 1);
    assert_eq!(world.send(ask(&token, "k", "main")).await.status, 202);
}

#[tokio::test]
async fn a_request_whose_client_goes_away_is_answered_all_the_same() {
    let world = World::new().await;
    let (_, token) = world.person("ada", Right::Write).await;
    // The answer waits for the build for three seconds, and the client does not.
    tokio::select! {
        answer = world.send(ask(&token, "k", "main")) => panic!("it does not wait: {answer:?}"),
        () = until(&world, "select exists (select from keyed_request)") => {}
    }
    until(&world, "select exists (select from keyed_request where status is not null)").await;
    assert_eq!(world.send(ask(&token, "k", "main")).await.header("idempotency-replayed"), "true");
    assert_eq!(requests(&world).await, 1);
}

/// Waits until a query says that something is so.
async fn until(world: &World, query: &'static str) {
    let begin = std::time::Instant::now();
    while !sqlx::query_scalar::<_, bool>(query).fetch_one(world.db()).await.unwrap() {
        assert!(begin.elapsed() < std::time::Duration::from_secs(30), "{query}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn keys_are_kept_for_a_day_and_a_lost_request_for_a_minute() {
    let world = World::new().await;
    let (_, token) = world.person("ada", Right::Write).await;
    let restart = || {
        request("POST", "/api/v1/repos/acme/secret/builds/1/cancel", &token)
            .header("idempotency-key", "k")
            .body(Body::empty())
            .unwrap()
    };
    world.build(world.secret, &[job("a")]).await;
    assert_eq!(world.send(restart()).await.body, json!({"canceled": 1}));
    let lost = "update keyed_request set status = null, answer = null, begun_at = now() - interval '50 seconds'";
    sqlx::query(lost).execute(world.db()).await.unwrap();
    assert_eq!(world.send(restart()).await.status, 409, "its process may be alive");
    let older = "update keyed_request set begun_at = begun_at - interval '11 seconds'";
    sqlx::query(older).execute(world.db()).await.unwrap();
    assert_eq!(world.send(restart()).await.body, json!({"canceled": 0}));
    assert_eq!(keyed_requests::forget(world.db(), 10).await.unwrap(), 0);
    let older = "update keyed_request set begun_at = begun_at - interval '1 day'";
    sqlx::query(older).execute(world.db()).await.unwrap();
    assert_eq!(keyed_requests::forget(world.db(), 10).await.unwrap(), 1);
}
