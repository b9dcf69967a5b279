//! Idempotency keys: a client that does not know whether its POST has arrived sends it again with the same key, and gets
//! the answer of the first time. The header is that of the IETF's draft "The Idempotency-Key HTTP Header Field".

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts as _, Request, State as Extract};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http_body_util::BodyExt as _;
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tracing::warn;

use crate::store::api::keyed_requests::{self, Answer, Begun, Keyed};
use crate::web::State;
use crate::web::access::{Replayed, View, Viewer};
use crate::web::error::{Error, InJson};

pub(in crate::web) const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
/// Header of an answer that was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// Maximum length of a key, in bytes.
const MAX_KEY: usize = 255;
/// Maximum size of a body with a key, in bytes: the largest of any route.
const MAX_BODY: usize = 256 << 10;

/// The requests with keys that are in progress. A client may go away, and its request is carried out all the same.
#[derive(Debug, Clone, Default)]
pub struct InProgress(Arc<Mutex<JoinSet<()>>>);

/// Carries a request with a key out once.
pub(in crate::web) async fn once(Extract(state): Extract<State>, request: Request, next: Next) -> Response {
    if !request.headers().contains_key(HEADER) {
        return next.run(request).await;
    }
    answer(&state, request, next).await.unwrap_or_else(|error| InJson::from(error).into_response())
}

/// Refuses a key at a route whose answer has a secret, which is not kept.
pub(in crate::web) async fn none(request: Request, next: Next) -> Response {
    if request.headers().contains_key(HEADER) {
        let why = "This request takes no idempotency key, because its answer has a secret that is not kept.";
        return InJson::from(Error::BadRequest(why.to_owned())).into_response();
    }
    next.run(request).await
}

async fn answer(state: &State, request: Request, next: Next) -> Result<Response, Error> {
    let (mut parts, body) = request.into_parts();
    let view = View::from_request_parts(&mut parts, state).await?;
    let key = parts.headers.get(HEADER).and_then(|key| key.to_str().ok()).map(str::trim);
    let key = key
        .filter(|key| !key.is_empty() && key.len() <= MAX_KEY)
        .ok_or_else(|| Error::BadRequest(format!("An idempotency key has 1 to {MAX_KEY} visible characters.")))?;
    let key = key.to_owned();
    let received = state.webhook_room.receive(body, MAX_BODY).await?;
    let keyed = Keyed {
        caller: caller(&view.viewer).ok_or(Error::NoToken)?,
        route: format!("{} {}", parts.method, parts.uri),
        key,
        body_digest: Sha256::digest(&received.bytes).to_vec(),
    };
    let request = Request::from_parts(parts, Body::from(received.bytes.clone()));
    // The handler takes its own room.
    drop(received);
    let (send, answered) = oneshot::channel();
    let db = state.db.clone();
    state.api.keyed.spawn(async move {
        // The client may have gone, and then nobody takes the answer.
        let _ = send.send(decide(&db, &keyed, next.run(request)).await);
    });
    answered.await.map_err(|_| anyhow::anyhow!("a request with a key has no answer"))?
}

/// Carries a request out if it is the first with its key, and gives its answer otherwise.
async fn decide(db: &PgPool, keyed: &Keyed, response: impl Future<Output = Response>) -> Result<Response, Error> {
    match keyed_requests::begin(db, keyed).await? {
        Begun::First => carry_out(db, keyed, response).await,
        Begun::Answered(answer) => Ok(replay(answer)),
        Begun::InProgress => {
            Err(Error::Conflict("The first request with this key is in progress. Ask again soon.".to_owned()))
        }
        Begun::OtherBody => Err(Error::OtherRequest),
    }
}

/// Carries a request out, and keeps its answer. After a failure of ours, the request may be sent again.
async fn carry_out(db: &PgPool, keyed: &Keyed, response: impl Future<Output = Response>) -> Result<Response, Error> {
    let (parts, body) = response.await.into_parts();
    let body = match body.collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) => {
            keyed_requests::remove(db, keyed).await?;
            return Err(Error::Internal(error.into()));
        }
    };
    let kept = if is_final(parts.status) {
        keyed_requests::answer(db, keyed, &answer_of(&parts, &body)).await
    } else {
        keyed_requests::remove(db, keyed).await
    };
    if let Err(error) = kept {
        warn!("the answer to a request with a key is not kept: {error}");
    }
    Ok(Response::from_parts(parts, Body::from(body)))
}

/// Returns true for the answer that the same request would get later.
fn is_final(status: StatusCode) -> bool {
    !status.is_server_error() && !matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
}

fn answer_of(parts: &axum::http::response::Parts, body: &Bytes) -> Answer {
    let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    Answer { status: parts.status.as_u16(), content_type: content_type.map(str::to_owned), body: body.to_vec() }
}

/// Gives an answer again.
fn replay(answer: Answer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let mut response = (status, answer.body).into_response();
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    if let Some(value) = answer.content_type.and_then(|value| HeaderValue::try_from(value).ok()) {
        headers.insert(header::CONTENT_TYPE, value);
    }
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    response.extensions_mut().insert(Replayed);
    response
}

/// Returns the name of a sender, which no other sender has.
fn caller(viewer: &Viewer) -> Option<String> {
    match (viewer, viewer.person()) {
        (Viewer::Operator(name), _) => Some(format!("operator {name}")),
        (_, Some(person)) => Some(format!("person {person}")),
        (_, None) => None,
    }
}

impl InProgress {
    fn spawn(&self, request: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(request);
    }
}
