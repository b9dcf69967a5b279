//! The frame of every answer of the JSON API: a problem says which request it belongs to, a panic becomes a problem, and
//! an answer that a client has already is not sent again.

pub(in crate::web) mod keyed;

use std::panic::AssertUnwindSafe;

use axum::body::{Body, HttpBody as _};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use futures::FutureExt as _;
use http_body_util::BodyExt as _;
use sha2::{Digest as _, Sha256};

use crate::web::error::{Error, InJson, with_instance};

/// Number of bytes of a digest that make a tag.
const TAG_LENGTH: usize = 16;

/// Puts the answer to a request into its frame.
pub(in crate::web) async fn frame(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let known = match *request.method() {
        Method::GET | Method::HEAD => request.headers().get(header::IF_NONE_MATCH).cloned(),
        _ => None,
    };
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let answer = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    let response = answer.unwrap_or_else(|_| InJson::from(anyhow::anyhow!("a handler panicked")).into_response());
    let response = with_instance(response, &path);
    if is_read && is_tagged(&response) { tagged(response, known.as_ref()).await } else { response }
}

/// Returns true for a result in JSON, which is whole in memory.
fn is_tagged(response: &Response) -> bool {
    response.status() == StatusCode::OK
        && response.headers().get(header::CONTENT_TYPE).is_some_and(|value| value == "application/json")
}

/// Gives an answer its tag, or leaves out the body that the client has already. The tag is weak, because the same content
/// may be sent compressed or not.
async fn tagged(response: Response, known: Option<&HeaderValue>) -> Response {
    let (mut parts, body) = response.into_parts();
    debug_assert!(body.size_hint().exact().is_some(), "a stream has no tag");
    let bytes = match body.collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) => return InJson::from(Error::Internal(error.into())).into_response(),
    };
    let digest = BASE64_URL_SAFE_NO_PAD.encode(&Sha256::digest(&bytes)[..TAG_LENGTH]);
    let tag = format!("W/\"{digest}\"");
    let is_known = known.and_then(|known| known.to_str().ok()).is_some_and(|known| names(known, &digest));
    parts.headers.insert(header::ETAG, HeaderValue::try_from(tag).unwrap_or(HeaderValue::from_static("\"\"")));
    parts.headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache"));
    if !is_known {
        return Response::from_parts(parts, Body::from(bytes));
    }
    parts.status = StatusCode::NOT_MODIFIED;
    without_content(&mut parts.headers);
    Response::from_parts(parts, Body::empty())
}

fn without_content(headers: &mut HeaderMap) {
    headers.remove(header::CONTENT_TYPE);
    headers.remove(header::CONTENT_LENGTH);
}

/// Returns true if a header `If-None-Match` names this tag.
fn names(known: &str, digest: &str) -> bool {
    known.split(',').map(str::trim).any(|tag| {
        tag == "*"
            || tag.trim_start_matches("W/").strip_prefix('"').and_then(|tag| tag.strip_suffix('"')) == Some(digest)
    })
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn a_panic_becomes_a_problem() {
        let router: Router = Router::new()
            .route("/api/v1/broken", get(|| async { panic!("as it should here") as &str }))
            .layer(axum::middleware::from_fn(frame));
        let request = Request::get("/api/v1/broken").body(Body::empty()).expect("a request");
        let response = router.oneshot(request).await.expect("an answer");
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        let problem: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!((&problem["status"], &problem["instance"]), (&500.into(), &"/api/v1/broken".into()), "{problem}");
        assert!(!problem.to_string().contains("as it should"), "{problem}");
    }

    #[test]
    fn tags_are_compared_weakly() {
        for known in ["W/\"abc\"", "\"abc\"", "\"x\", W/\"abc\"", "*"] {
            assert!(names(known, "abc"), "{known}");
        }
        for known in ["", "abc", "\"abcd\"", "W/\"ab\"", "W/abc"] {
            assert!(!names(known, "abc"), "{known}");
        }
    }
}
