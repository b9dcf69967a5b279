//! Bounds on the requests that are answered at once. Readers are anonymous, and too many of them must take neither the
//! memory nor the processors that running jobs need.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::access::Rate;
use super::error::{Error, in_form_of};

/// Bounds on what readers may take up.
#[derive(Debug, Clone)]
pub struct Limits {
    pages: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    /// Turns of rendering a piece of a log.
    pub(super) renders: Arc<Semaphore>,
    /// Requests to the API, of each caller.
    pub(super) rate: Rate,
}

impl Default for Limits {
    fn default() -> Self {
        Self::of(64, 256)
    }
}

impl Limits {
    /// Returns limits for pages that are being made, and for streams that are open. Logs are rendered on half of the
    /// processors at most.
    pub fn of(pages: usize, streams: usize) -> Self {
        let renders = std::thread::available_parallelism().map_or(1, |count| count.get().div_ceil(2));
        Self {
            pages: Arc::new(Semaphore::new(pages)),
            streams: Arc::new(Semaphore::new(streams)),
            renders: Arc::new(Semaphore::new(renders)),
            rate: Rate::default(),
        }
    }

    /// Adds a limit on the requests of each caller of the API.
    pub fn with_rate(self, rate: Rate) -> Self {
        Self { rate, ..self }
    }
}

/// Makes a page while there are not too many others, or refuses it at once: to wait would take a connection.
pub(super) async fn page(State(limits): State<Limits>, request: Request, next: Next) -> Response {
    match Arc::clone(&limits.pages).try_acquire_owned() {
        Ok(_held) => next.run(request).await,
        Err(_) => refuse(&request),
    }
}

/// Opens a stream while there are not too many others. It counts until its end.
pub(super) async fn stream(State(limits): State<Limits>, request: Request, next: Next) -> Response {
    match Arc::clone(&limits.streams).try_acquire_owned() {
        Ok(held) => next.run(request).await.map(|body| holding(body, held)),
        Err(_) => refuse(&request),
    }
}

/// Returns a body that holds a permit as long as it is being sent.
fn holding(body: Body, held: OwnedSemaphorePermit) -> Body {
    Body::new(body.map_frame(move |frame| {
        let _ = &held;
        frame
    }))
}

fn refuse(request: &Request) -> Response {
    in_form_of(request.uri().path(), Error::Busy)
}
