//! The web side of the service: it receives webhooks and shows their results.
//!
//! The SELECTs of pages stand next to them. All writes (a delivery, a repository's key pair, a change by somebody with a
//! token, a checkpoint of a log that was read) go through `store`.

mod access;
mod api;
mod artifacts;
mod assets;
mod badge;
mod changes;
mod chart;
mod deliveries;
mod error;
mod health;
mod job_title;
mod limits;
mod log_stream;
mod metrics;
mod pages;
mod paging;
mod people;
mod query;
mod routes;
mod rows;
mod server;
mod setup;
mod show;
mod steps;
mod travis_api;
mod webhook;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Uri, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse as _, Response};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, NotForContentType, Predicate as _};
use tower_http::trace::TraceLayer;
use tracing::{Span, debug, debug_span};
use url::Url;

use crate::github::ForgeConfig;
use crate::outbox::ChartLinks;
use crate::permits::PublishConfig;
use crate::planner::Planner;
use crate::storage::{Logs, Objects};
use crate::store::deliveries::DeliveryBatcher;
use crate::store::queue::QueueConfig;
use crate::store::sealed::own_keys::{NotificationKey, ProvenanceKey};
use crate::store::sealed::repo_keys::RepoKeys;
use crate::store::wakeup::bell::Bells;
pub use access::{Access, AccessParts, AuthConfig, Need, Of, Rate, SHORTEST as SHORTEST_TOKEN};
pub use api::Api;
use error::{Error, in_form_of, with_instance};
pub use health::Health;
pub use limits::Limits;
pub use metrics::Metrics;
pub use people::{Logins, Tries};
pub use routes::{Route, routes};
pub use server::{Bounds, serve};
pub use setup::{Setup, make_link};
pub use webhook::{Room as WebhookRoom, Secrets as WebhookSecrets, Travis};

/// Shared state of the handlers.
#[derive(Debug, Clone)]
pub struct State {
    /// Connections of the pages. Their statements have a time limit.
    pub db: PgPool,
    /// Check of Postgres for `/readyz`.
    pub health: Health,
    /// Numbers for Prometheus.
    pub metrics: Metrics,
    /// Receiver of deliveries.
    pub deliveries: DeliveryBatcher,
    /// Key pairs for `secure:` strings.
    pub keys: RepoKeys,
    /// Key that signs our webhooks.
    pub notification_key: NotificationKey,
    /// The key that signs statements of provenance.
    pub provenance_key: ProvenanceKey,
    /// Source of logs.
    pub logs: Logs,
    /// Source of artifacts.
    pub objects: Objects,
    /// Bells: rung for intake, heard for live logs.
    pub bells: Bells,
    /// Secrets that sign GitHub's webhooks. Without any, none is accepted.
    pub webhook_secrets: WebhookSecrets,
    /// Servers besides GitHub, with the secrets of their webhooks.
    pub forges: Arc<[ForgeConfig]>,
    /// Acceptance of Travis's webhooks.
    pub travis: Travis,
    /// Room for the bodies of webhooks.
    pub webhook_room: WebhookRoom,
    /// Bounds on pages and streams.
    pub limits: Limits,
    /// Signer of the addresses of charts.
    pub charts: ChartLinks,
    /// Rights of viewers: what each may see and change.
    pub access: Access,
    /// Logins with GitHub that are under way.
    pub logins: Logins,
    /// Limits on logins that fail.
    pub tries: Tries,
    /// Credentials and pages with which the service is set up.
    pub setup: Setup,
    /// Planner of the lint.
    pub planner: Planner,
    /// Limits of the queue, for its order.
    pub queue: QueueConfig,
    /// Environments of publications, with their people.
    pub publish: PublishConfig,
    /// State of the JSON API: changes that its streams have read, and requests with keys.
    pub api: Api,
    /// Address under which people reach the service.
    pub public_url: Url,
    /// Ends the event streams, which would otherwise delay a graceful shutdown for as long as a reader is connected.
    pub shutdown: CancellationToken,
}

impl State {
    /// Returns the public address of a path on this server.
    fn public(&self, path: &str) -> String {
        format!("{}{path}", self.public_url.as_str().trim_end_matches('/'))
    }
}

/// Builds all routes of the service, with the layers around them.
pub fn router(state: State) -> Router {
    let is_https = state.public_url.scheme() == "https";
    routes::router(&state)
        .fallback(|uri: Uri| async move { unknown(&uri, Error::NotFound("page")) })
        .method_not_allowed_fallback(|uri: Uri| async move { unknown(&uri, Error::WrongMethod) })
        .layer(map_response(move |response| secured(response, is_https)))
        // The default predicate excludes event streams, which must not wait for a compressor's buffer. Artifacts are
        // excluded too: most of them are compressed already, and their `Content-Length` must survive.
        .layer(
            CompressionLayer::new()
                .compress_when(DefaultPredicate::new().and(NotForContentType::const_new("application/octet-stream"))),
        )
        .layer(CatchPanicLayer::custom(|_| Error::Internal(anyhow::anyhow!("a handler panicked")).into_response()))
        .layer(
            TraceLayer::new_for_http()
                // Only the path: the query may hold values that do not belong in a log.
                .make_span_with(
                    |request: &Request| debug_span!("request", method = %request.method(), path = request.uri().path()),
                )
                .on_request(())
                .on_failure(())
                .on_response(|response: &Response, latency: std::time::Duration, _: &Span| {
                    debug!(status = response.status().as_u16(), ?latency, "answered");
                }),
        )
        .with_state(state)
}

/// Answers a request for which there is no route.
fn unknown(uri: &Uri, error: Error) -> Response {
    with_instance(in_form_of(uri.path(), error), uri.path())
}

/// Adds the headers that every response has: a page may use our own files and nothing else, and no site may frame it. A
/// response that is not a page may do less, and sets its own policy.
async fn secured(mut response: Response, is_https: bool) -> Response {
    const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
         connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
    const PERMISSIONS: &str = "camera=(), clipboard-read=(), display-capture=(), geolocation=(), microphone=(), payment=(), \
         usb=()";
    let headers: [(HeaderName, &'static str); 6] = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("permissions-policy"), PERMISSIONS),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    if is_https {
        // For a year. Neighbours in the same domain may have other plans, so it is for this host alone.
        let value = HeaderValue::from_static("max-age=31536000");
        response.headers_mut().entry(header::STRICT_TRANSPORT_SECURITY).or_insert(value);
    }
    for (name, value) in headers {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}
