//! Traces of deliveries, for a collector of OpenTelemetry: from the webhook to the status.
//!
//! The steps are joined by rows, and may run in other processes. So the ids of a trace and of its first span are derived
//! from the delivery's id: each step knows them without a column for them.
//!
//! Spans wait in a queue of bounded length, which a thread of its own sends. What does not fit is dropped, and so is what
//! the collector does not take. Without a collector, a span costs one comparison.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, ensure};
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchSpanProcessor, IdGenerator as _, RandomIdGenerator, SpanData, SpanEvents, SpanExporter as _, SpanLinks,
    SpanProcessor as _,
};
use sha2::{Digest as _, Sha256};
use tracing::warn;
use url::Url;

/// Time for a request to the collector.
const LIMIT: Duration = Duration::from_secs(5);
/// Time for the last spans at the end of the process.
const GOODBYE: Duration = Duration::from_secs(2);

/// Sender of spans, if there is a collector.
static SENDER: OnceLock<BatchSpanProcessor> = OnceLock::new();

/// Starts sending spans to a collector.
pub(super) fn start(collector: &Url) -> anyhow::Result<()> {
    ensure!(matches!(collector.scheme(), "http" | "https"), "telemetry.traces must be an http or https address");
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(collector.as_str())
        .with_timeout(LIMIT)
        .build();
    let mut exporter = exporter.context("telemetry.traces")?;
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    exporter.set_resource(&Resource::builder().with_service_name("trainyard").with_attribute(version).build());
    // A second start, as in tests, keeps the first sender.
    let _ = SENDER.set(BatchSpanProcessor::builder(exporter).build());
    Ok(())
}

/// Returns true if there is a collector.
pub fn are_on() -> bool {
    SENDER.get().is_some()
}

/// Sends the last spans. Waits for the collector a moment.
pub fn stop() {
    if let Some(sender) = SENDER.get()
        && let Err(error) = sender.shutdown_with_timeout(GOODBYE)
    {
        warn!("the last traces were not sent: {error}");
    }
}

/// Span to which others belong; `None` inside if there is no collector, or no delivery.
#[derive(Debug, Clone, Copy)]
pub struct Parent(Option<Ids>);

#[derive(Debug, Clone, Copy)]
struct Ids {
    trace: TraceId,
    span: SpanId,
}

impl Parent {
    /// Returns the first span of a delivery's trace.
    pub fn delivery(id: &str) -> Self {
        Self(are_on().then(|| Ids::of_delivery(id)))
    }

    /// Returns no span.
    pub fn none() -> Self {
        Self(None)
    }

    /// Begins this span itself, of which there is one in a trace. It ends when the value is dropped.
    pub fn begin_first(self, name: &'static str) -> Span {
        Span(self.0.map(|ids| Box::new(Open::new(name, ids, SpanId::INVALID, SpanKind::Server))))
    }

    /// Begins a span that belongs to this one. It ends when the value is dropped.
    pub fn begin(self, name: &'static str) -> Span {
        Span(self.0.map(|Ids { trace, span }| {
            let ids = Ids { trace, span: RandomIdGenerator::default().new_span_id() };
            Box::new(Open::new(name, ids, span, SpanKind::Internal))
        }))
    }
}

impl Ids {
    fn of_delivery(id: &str) -> Self {
        let digest = Sha256::digest(id.as_bytes());
        let (mut trace, mut span) = ([0; 16], [0; 8]);
        trace.copy_from_slice(&digest[..16]);
        span.copy_from_slice(&digest[16..24]);
        Self { trace: TraceId::from_bytes(trace), span: SpanId::from_bytes(span) }
    }
}

/// A span that is open. Its attributes are names and numbers alone: texts of people and jobs may have secrets.
#[derive(Debug)]
#[must_use = "the span ends when it is dropped"]
pub struct Span(Option<Box<Open>>);

#[derive(Debug)]
struct Open {
    name: &'static str,
    ids: Ids,
    parent: SpanId,
    kind: SpanKind,
    start: SystemTime,
    attributes: Vec<KeyValue>,
    status: Status,
}

impl Open {
    fn new(name: &'static str, ids: Ids, parent: SpanId, kind: SpanKind) -> Self {
        let (start, attributes, status) = (SystemTime::now(), Vec::new(), Status::Unset);
        Self { name, ids, parent, kind, start, attributes, status }
    }
}

impl Span {
    /// Returns this span as the parent of others.
    pub fn as_parent(&self) -> Parent {
        Parent(self.0.as_ref().map(|open| open.ids))
    }

    /// Adds a fact about the span.
    pub fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        if let Some(open) = &mut self.0 {
            open.attributes.push(KeyValue::new(name, value));
        }
    }

    /// Moves the begin of the span back.
    pub fn began_before(&mut self, ago: Duration) {
        if let Some(open) = &mut self.0 {
            open.start = open.start.checked_sub(ago).unwrap_or(open.start);
        }
    }

    /// Marks the span as failed.
    pub fn fail(&mut self) {
        if let Some(open) = &mut self.0 {
            open.status = Status::error("");
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let (Some(sender), Some(open)) = (SENDER.get(), self.0.take()) else { return };
        let Open { name, ids, parent, kind, start, attributes, status } = *open;
        sender.on_end(SpanData {
            span_context: SpanContext::new(ids.trace, ids.span, TraceFlags::SAMPLED, false, TraceState::default()),
            parent_span_id: parent,
            parent_span_is_remote: false,
            span_kind: kind,
            name: name.into(),
            start_time: start,
            end_time: SystemTime::now(),
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status,
            instrumentation_scope: InstrumentationScope::builder("trainyard").build(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_known_by_its_delivery_alone() {
        let (first, again, other) = (Ids::of_delivery("d-1"), Ids::of_delivery("d-1"), Ids::of_delivery("d-2"));
        assert_eq!((first.trace, first.span), (again.trace, again.span));
        assert!(first.trace != other.trace && first.span != other.span);
    }

    #[test]
    fn without_a_collector_there_is_nothing() {
        let begin = std::time::Instant::now();
        for _ in 0..100_000 {
            let mut span = Parent::delivery("d-1").begin("fetch");
            span.set("trainyard.job", 1);
            assert!(span.0.is_none());
        }
        assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    }
}
