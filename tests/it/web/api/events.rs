//! Streams of events over a real connection.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use futures::StreamExt as _;
use serde_json::Value;
use tower::ServiceExt as _;
use trainyard::domain::{Right, Verdict};
use trainyard::store::api::build_changes;
use trainyard::web;

use super::world::{OPERATOR, World, job, request};
use crate::support::web as support;

/// An open stream.
struct Events {
    bytes: futures::stream::BoxStream<'static, String>,
    unread: String,
}

#[derive(Debug, Default, PartialEq)]
struct Event {
    name: String,
    id: String,
    data: Value,
}

impl Event {
    /// Formats the build, its state, and the states of the jobs that have changed.
    fn summary(&self) -> String {
        let build = &self.data["build"];
        let jobs = self.data["jobs"].as_array().unwrap().iter().map(|job| job["state"].as_str().unwrap());
        let word = |value: &Value| value.as_str().unwrap().to_owned();
        format!("{} {} [{}]", word(&build["name"]), word(&build["state"]), jobs.collect::<Vec<_>>().join(" "))
    }
}

impl Events {
    async fn open(world: &World, path: &str, token: &str, after: Option<&str>) -> Self {
        let mut request: Request<Body> = request("GET", path, token).body(Body::empty()).unwrap();
        if let Some(id) = after {
            request.headers_mut().insert("last-event-id", id.parse().unwrap());
        }
        let response = web::router(world.state.clone()).oneshot(request).await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let bytes = response.into_body().into_data_stream();
        let bytes = bytes.map(|bytes| String::from_utf8(bytes.unwrap().to_vec()).unwrap()).boxed();
        Self { bytes, unread: String::new() }
    }

    /// Reads the next event; `None` at the end of the stream, or if none comes.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((text, rest)) = self.unread.split_once("\n\n") {
                let mut event = Event::default();
                for line in text.lines() {
                    match line.split_once(": ") {
                        Some(("event", name)) => event.name = name.to_owned(),
                        Some(("id", id)) => event.id = id.to_owned(),
                        Some(("data", data)) => event.data = serde_json::from_str(data).unwrap(),
                        _ => {}
                    }
                }
                self.unread = rest.to_owned();
                return Some(event);
            }
            let next = tokio::time::timeout(Duration::from_secs(3), self.bytes.next()).await;
            self.unread.push_str(&next.ok()??);
        }
    }

    async fn begin(world: &World, path: &str, token: &str) -> Self {
        let mut events = Self::open(world, path, token, None).await;
        assert_eq!(events.next().await.unwrap().name, "begin");
        events
    }
}

#[tokio::test]
async fn each_change_is_told_to_those_who_may_see_it() {
    let world = World::new().await;
    let (_, token) = world.person("ada", Right::Read).await;
    let mut own = Events::begin(&world, "/api/v1/events", &token).await;
    let mut strangers = Events::begin(&world, "/api/v1/events", "").await;
    let mut of_repo = Events::begin(&world, "/api/v1/repos/acme/open/events", "").await;
    let mut operators = Events::begin(&world, "/api/v1/events", OPERATOR).await;

    world.build(world.secret, &[job("unit")]).await;
    for stream in [&mut own, &mut operators] {
        let event = stream.next().await.unwrap();
        assert_eq!((event.name.as_str(), event.summary().as_str()), ("build", "secret queued []"));
    }
    let claimed = support::claim(world.db()).await;
    assert_eq!(own.next().await.unwrap().summary(), "secret running [running]");
    support::finish(&world.state, &claimed, 0, Verdict::Failed, None).await;
    let last = own.next().await.unwrap();
    assert_eq!(last.summary(), "secret failed [finished]");
    assert_eq!(last.data["build"]["url"], "https://ci.example/acme/secret/builds/1");

    world.build(world.open, &[job("unit")]).await;
    for stream in [&mut strangers, &mut of_repo, &mut own] {
        assert_eq!(stream.next().await.unwrap().summary(), "open queued []");
    }
}

#[tokio::test]
async fn a_stream_goes_on_after_an_interruption() {
    let world = World::new().await;
    let mut events = Events::begin(&world, "/api/v1/events", "").await;
    world.build(world.open, &[job("a")]).await;
    let seen = events.next().await.unwrap();
    drop(events);
    // More than the streams of the process keep, while nobody reads.
    for _ in 0..3 {
        world.build(world.open, &[job("b")]).await;
    }
    let mut events = Events::open(&world, "/api/v1/events", "", Some(&seen.id)).await;
    assert_eq!(events.next().await.unwrap().id, seen.id);
    let mut numbers = Vec::new();
    for _ in 0..3 {
        numbers.push(events.next().await.unwrap().data["build"]["number"].as_i64().unwrap());
    }
    assert_eq!(numbers, [2, 3, 4]);
    // An id of another database, and none at all, begin at the end.
    for id in ["99999999999-1", "nonsense"] {
        let mut events = Events::open(&world, "/api/v1/events", "", Some(id)).await;
        assert_eq!(events.next().await.unwrap().name, "begin");
        assert_eq!(events.next().await, None, "{id}");
    }
}

#[tokio::test]
async fn a_transaction_that_ends_late_loses_no_event() {
    let world = World::new().await;
    let mut events = Events::begin(&world, "/api/v1/events", "").await;
    world.build(world.open, &[job("early")]).await;
    events.next().await.unwrap();
    // It takes its id first, and is over last.
    let mut late = world.db().begin().await.unwrap();
    sqlx::query("update build set state = 'running', started_at = now() where number = 1")
        .execute(&mut *late)
        .await
        .unwrap();
    world.build(world.open, &[job("other")]).await;
    assert_eq!(events.next().await, None, "events wait for the transactions before them");
    late.commit().await.unwrap();
    assert_eq!(events.next().await.unwrap().summary(), "open running []");
    assert_eq!(events.next().await.unwrap().summary(), "open queued []");
}

#[tokio::test]
async fn many_streams_cost_as_much_as_one_and_old_changes_go() {
    let world = World::new().await;
    let mut streams = Vec::new();
    for _ in 0..40 {
        streams.push(Events::begin(&world, "/api/v1/events", "").await);
    }
    world.build(world.open, &[job("a")]).await;
    let read = streams.iter_mut().map(Events::next);
    let told = futures::future::join_all(read).await;
    assert!(told.iter().all(|event| event.as_ref().unwrap().summary() == "open queued []"));
    assert_eq!(build_changes::forget(world.db(), 100).await.unwrap(), 0);
    sqlx::query("update build_change set at = at - interval '25 hours'").execute(world.db()).await.unwrap();
    assert_eq!(build_changes::forget(world.db(), 100).await.unwrap(), 1);
}
