//! Errors for programs, as problem details (RFC 9457).

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::Error;

const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/problem+json");

/// The reason why a request has no result, as RFC 9457 has it.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = ProblemDetails)]
pub(in crate::web) struct Problem {
    /// Name of the kind of problem, such as `urn:trainyard:problem:not-found`.
    #[serde(rename = "type")]
    kind: String,
    /// The kind in words.
    title: &'static str,
    /// Status of the answer.
    status: u16,
    /// Sentence that says what happened, and what helps.
    detail: String,
    /// Path of the request.
    instance: Option<String>,
    /// The same as `detail`.
    error: String,
}

/// An [`Error`] for programs.
#[derive(Debug)]
pub(in crate::web) struct InJson(Error);

impl<E: Into<Error>> From<E> for InJson {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for InJson {
    fn into_response(self) -> Response {
        let (name, title) = kind(&self.0);
        let detail = self.0.words();
        let problem = Problem {
            kind: format!("urn:trainyard:problem:{name}"),
            title,
            status: self.0.status().as_u16(),
            error: detail.clone(),
            detail,
            instance: None,
        };
        let mut response = self.0.respond(problem.body());
        response.headers_mut().insert(header::CONTENT_TYPE, MEDIA_TYPE);
        response.extensions_mut().insert(problem);
        response
    }
}

impl Problem {
    fn body(&self) -> String {
        // Texts and numbers are always JSON.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Says in the answer to a request for `path`, if it is a problem, which request it was.
pub(in crate::web) fn with_instance(mut response: Response, path: &str) -> Response {
    let Some(mut problem) = response.extensions_mut().remove::<Problem>() else { return response };
    problem.instance = Some(path.to_owned());
    response.headers_mut().remove(header::CONTENT_LENGTH);
    *response.body_mut() = Body::from(problem.body());
    response
}

/// Returns the name and the title of a kind of problem.
fn kind(error: &Error) -> (&'static str, &'static str) {
    match error {
        Error::NotFound(_) | Error::Hidden(_) | Error::TravisOff => ("not-found", "There is no such thing"),
        Error::Gone(_) => ("gone", "The thing was removed"),
        Error::Forbidden(_) | Error::WrongScope(_) => ("forbidden", "A right is missing"),
        Error::Foreign => ("foreign", "The request comes from another site"),
        Error::TooManyTries => ("too-many-tries", "Too many logins failed"),
        Error::TooOften { .. } => ("too-often", "There are too many requests of this caller"),
        Error::BadRequest(_) => ("bad-request", "The request is malformed"),
        Error::Conflict(_) => ("conflict", "The state does not allow this"),
        Error::NoToken => ("no-token", "A token is missing"),
        Error::WrongToken => ("wrong-token", "The token is not good"),
        Error::BadSignature | Error::BadForgeSignature | Error::BadTravisSignature => {
            ("bad-signature", "The signature is not good")
        }
        Error::WrongMethod => ("wrong-method", "The address has other methods"),
        Error::OtherRequest => ("other-request", "The idempotency key belongs to another request"),
        Error::TooLarge(_) => ("too-large", "The body is too large"),
        Error::TooSlow => ("too-slow", "The body came too slowly"),
        Error::Busy => ("busy", "There are too many requests"),
        Error::NoWebhookSecret
        | Error::NoTravisKey(_)
        | Error::RightUnknown
        | Error::NoProvider(_)
        | Error::NoStorage(_)
        | Error::Unavailable(_) => ("unavailable", "A part of the service does not answer"),
        Error::Internal(_) => ("internal", "An error of the service"),
    }
}
