//! The web side of the service: it receives webhooks and shows their results.
//!
//! The SELECTs of pages stand next to them. All writes (a delivery, a repository's key pair, a change by somebody with a
//! token, a checkpoint of a log that was read) go through `store`.

mod api;
mod artifacts;
mod assets;
mod auth;
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
mod rows;
mod series;
mod server;
mod show;
mod travis_api;
mod webhook;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post, put};
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
use crate::storage::{Logs, Objects};
use crate::store::deliveries::DeliveryBatcher;
use crate::store::queue::QueueConfig;
use crate::store::sealed::notification_key::NotificationKey;
use crate::store::sealed::repo_keys::RepoKeys;
use crate::store::wakeup::bell::Bells;
pub use auth::{AuthConfig, SHORTEST as SHORTEST_TOKEN};
use changes::{approve, cancel, crons, replay, requests, restart};
use error::Error;
pub use health::Health;
pub use limits::Limits;
pub use metrics::Metrics;
pub use server::{Bounds, serve};
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
    /// Tokens that allow changes.
    pub auth: AuthConfig,
    /// Limits of the queue, for its order.
    pub queue: QueueConfig,
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
    let pages = Router::new()
        .route("/", get(pages::home::page))
        .route("/runners", get(pages::runners::page))
        .route("/deliveries", get(pages::deliveries::list))
        .route("/deliveries/{id}", get(pages::deliveries::page))
        .route("/api/v1/deliveries", get(deliveries::all))
        .route("/api/v1/deliveries/{id}", get(deliveries::one))
        .route("/config", get(travis_api::config))
        .route("/{owner}/{repo}", get(pages::repo::page_or_badge))
        .route("/{owner}/{repo}/builds/{number}", get(pages::build::page))
        .route("/{owner}/{repo}/builds/{number}/jobs/{job}", get(pages::job::page))
        .route("/api/v1/repos/{owner}/{repo}/builds/{number}", get(api::build))
        .route("/api/v1/repos/{owner}/{repo}/key", get(api::key))
        .route("/api/v1/repos/{owner}/{repo}/requests/{id}", get(requests::show))
        .route("/api/v1/repos/{owner}/{repo}/crons", get(crons::list))
        .route("/api/v1/repos/{owner}/{repo}/builds", get(api::builds))
        .route("/api/v1/jobs/{id}/series", get(series::json))
        .route("/api/v1/jobs/{id}/resources", get(series::resources))
        .route("/api/v1/jobs/{id}/artifacts", get(artifacts::list))
        .merge(travis_api::pages())
        .route_layer(from_fn_with_state(state.limits.clone(), limits::page));
    let streams = Router::new()
        .route("/api/v1/jobs/{id}/log", get(log_stream::raw))
        .merge(travis_api::logs())
        .route("/api/v1/jobs/{id}/log/stream", get(log_stream::live))
        .route("/api/v1/jobs/{id}/artifacts/{*path}", get(artifacts::download))
        .route_layer(from_fn_with_state(state.limits.clone(), limits::stream));
    // The address of a chart is signed, so it needs no other permission.
    let charts = Router::new()
        .route("/charts/{job}/{attempt}/{until}/{signature}", get(chart::image::loss))
        .route_layer(from_fn_with_state(state.limits.clone(), limits::page));
    Router::new()
        .merge(pages)
        .merge(streams)
        .merge(charts)
        .route("/webhooks/github", post(webhook::of_all))
        .route("/webhooks/github/{owner}", post(webhook::of_owner))
        .route("/webhooks/github/{owner}/{repo}", post(webhook::of_repo))
        .route("/api/v1/repos/{owner}/{repo}/builds/{number}/approve", post(approve::approve))
        .route("/api/v1/repos/{owner}/{repo}/builds", post(requests::create))
        .route("/api/v1/repos/{owner}/{repo}/crons/{*branch}", put(crons::set).delete(crons::remove))
        .route("/webhooks/forge/{name}", post(webhook::forge::receive))
        .route("/api/v1/deliveries/{id}/replay", post(replay::replay))
        .route("/webhooks/travis", post(webhook::travis::receive))
        .route("/api/v1/repos/{owner}/{repo}/builds/{number}/cancel", post(cancel::cancel))
        .route("/api/v1/repos/{owner}/{repo}/builds/{number}/jobs/{job}/cancel", post(cancel::cancel))
        .route("/api/v1/repos/{owner}/{repo}/builds/{number}/restart", post(restart::restart))
        .route("/api/v1/repos/{owner}/{repo}/builds/{number}/jobs/{job}/restart", post(restart::restart))
        .route("/metrics", get(metrics::page))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/static/{file}", get(assets::file))
        .fallback(|| async { Error::NotFound("page") })
        .layer(map_response(secured))
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

/// Adds the headers that every response has: a page may use our own files and nothing else, and no site may frame it. A
/// response that is not a page may do less, and sets its own policy.
async fn secured(mut response: Response) -> Response {
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
    for (name, value) in headers {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}
