//! Traces of deliveries, as a collector of OpenTelemetry gets them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::support::app::{configuration, merged};
use crate::support::database;
use crate::support::github::{GitHub, SECRET, TOKEN};
use crate::support::payload::{self, Delivery};
use crate::support::service::Service;

const PROGRAM: &str = env!("CARGO_BIN_EXE_trainyard");

type Got = Arc<Mutex<Vec<Bytes>>>;

struct Collector {
    address: SocketAddr,
    got: Got,
    _serving: JoinSet<()>,
}

impl Collector {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let got = Got::default();
        let router = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&got));
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, got, _serving: serving }
    }

    fn spans(&self) -> Vec<Span> {
        let got = self.got.lock().unwrap();
        let requests = got.iter().map(|body| ExportTraceServiceRequest::decode(body.clone()).unwrap());
        let resources = requests.flat_map(|request| request.resource_spans);
        let scopes = resources.flat_map(|resource| {
            let named = resource.resource.unwrap().attributes;
            assert!(named.iter().any(|pair| pair.key == "service.name"), "{named:?}");
            resource.scope_spans
        });
        scopes.flat_map(|scope| scope.spans).collect()
    }
}

async fn take(State(got): State<Got>, headers: HeaderMap, body: Bytes) -> StatusCode {
    assert_eq!(headers["content-type"], "application/x-protobuf");
    got.lock().unwrap().push(body);
    StatusCode::OK
}

/// Starts the service with a collector at this address, and lets it build a push. Returns its configuration's folder.
async fn push(traces: &str) -> (Service, GitHub, tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let github = GitHub::start(folder.path().join("github")).await;
    let repo = github.repo("acme/styles");
    repo.write(".travis.yml", "language: shell\nscript: sleep 1\n");
    let sha = repo.commit("A message of a person");
    let url = database::url().await;
    let base = configuration(&folder.path().join("data"), Some(&url), &github);
    let change = format!("server = {{cancel_on_stop = true}}\ntelemetry = {{traces = '{traces}'}}\n");
    let file = folder.path().join("config.toml");
    std::fs::write(&file, merged(&base, &change)).unwrap();
    let service = Service::start(PROGRAM.as_ref(), &file);
    Delivery::new("d-1", "push", &payload::push(&github, &repo, "main")).post(&service.base).await;
    github.wait_for_end(&sha, "trainyard/push").await;
    (service, github, folder, sha)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_has_one_trace_from_the_webhook_to_the_status() {
    let collector = Collector::start().await;
    let (service, _github, _folder, sha) = push(&format!("http://{}/v1/traces", collector.address)).await;
    // The last span, that of the final status, is sent at the latest when the service ends.
    assert_eq!(service.interrupt(), Some(0));
    let spans = collector.spans();
    let mut of: BTreeMap<&str, Vec<&Span>> = BTreeMap::new();
    for span in &spans {
        of.entry(&span.name).or_default().push(span);
    }
    let digest = Sha256::digest("d-1");
    assert!(spans.iter().all(|span| span.trace_id == digest[..16]), "it is the trace of the delivery");
    let one = |name: &str| match of.get(name).map(Vec::as_slice) {
        Some([span]) => *span,
        other => panic!("{name}: {other:?} in {:?}", of.keys()),
    };
    let (webhook, intake, job) = (one("webhook"), one("intake"), one("job"));
    assert_eq!((webhook.span_id.as_slice(), webhook.parent_span_id.len()), (&digest[16..24], 0));
    for (name, parent) in [
        ("intake", webhook),
        ("fetch", intake),
        ("plan", intake),
        ("write", intake),
        ("claim", webhook),
        ("job", webhook),
        ("container start", job),
        ("run", job),
        ("outputs", job),
        ("record", job),
    ] {
        assert_eq!(one(name).parent_span_id, parent.span_id, "{name}");
        assert!(one(name).end_time_unix_nano >= one(name).start_time_unix_nano, "{name}");
    }
    let statuses = &of["outbox"];
    assert!(!statuses.is_empty() && statuses.iter().all(|span| span.parent_span_id == webhook.span_id));
    let took = |name: &str| Duration::from_nanos(one(name).end_time_unix_nano - one(name).start_time_unix_nano);
    assert!(took("run") >= Duration::from_secs(1) && took("job") >= took("run") + took("container start"));
    for (earlier, later) in [("fetch", "plan"), ("plan", "write"), ("container start", "run"), ("run", "record")] {
        assert!(one(earlier).end_time_unix_nano <= one(later).start_time_unix_nano, "{earlier} {later}");
    }
    let number = job.attributes.iter().find(|pair| pair.key == "trainyard.job").unwrap();
    assert_eq!(number.value.clone().unwrap().value, Some(Value::IntValue(1)));
    // No credential and no text of a person leaves the service in a trace.
    let whole = format!("{spans:?}");
    for hidden in [TOKEN, SECRET, "A message of a person", sha.as_str()] {
        assert!(!whole.contains(hidden), "{hidden}");
    }
}

#[tokio::test]
async fn a_collector_that_is_away_disturbs_nothing() {
    // Nobody listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (service, _github, _folder, _) = push(&format!("http://127.0.0.1:{port}/v1/traces")).await;
    let begin = Instant::now();
    assert_eq!(service.interrupt(), Some(0));
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
}
