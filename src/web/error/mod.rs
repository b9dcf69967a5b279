//! Errors of requests: a page or JSON with a status and an explanation. Internal details are logged and never shown.

mod problem;

use std::sync::Arc;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tracing::{error, warn};

pub(super) use self::problem::{InJson, Problem, with_instance};
use crate::domain::RepoName;
use crate::storage::Away;
use crate::travis_ci::KeyError;

/// Seconds after which a client may retry when Postgres is unreachable, or when there is too much to do.
const RETRY_AFTER: &str = "5";

/// Reason why a request has no result. Its response is a page (`pages/error.rs`); see [`InJson`] for programs.
#[derive(Debug)]
pub(super) enum Error {
    /// The named thing does not exist (build, job, page…).
    NotFound(&'static str),
    /// The named thing does not exist, or is nothing for somebody who is not logged in.
    Hidden(&'static str),
    /// The viewer may not do this; the text says what it needs.
    Forbidden(String),
    /// A browser has sent the request, and not for a page of ours.
    Foreign,
    /// Too many logins failed.
    TooManyTries,
    /// GitHub does not tell what the viewer may do.
    RightUnknown,
    /// The thing was removed; the text names it and the reason.
    Gone(String),
    /// The request is malformed; the text says how.
    BadRequest(String),
    /// The thing is in a state that does not allow this; the text says why.
    Conflict(String),
    /// The webhook has no valid signature.
    BadSignature,
    /// A change without a token.
    NoToken,
    /// A token that is not configured.
    WrongToken,
    /// The webhook has no valid signature of Travis.
    BadTravisSignature,
    /// The webhook has no valid signature of a server of `[[forge]]`.
    BadForgeSignature,
    /// Travis's webhooks are not asked for.
    TravisOff,
    /// Travis's webhooks cannot be verified, because there is no key.
    NoTravisKey(KeyError),
    /// Webhooks cannot be verified, because no secret is set.
    NoWebhookSecret,
    /// The webhook was signed with a secret that is not for this repository.
    WrongScope(RepoName),
    /// The path has other methods.
    WrongMethod,
    /// The idempotency key was sent with another request.
    OtherRequest,
    /// The body is larger than this limit, in bytes.
    TooLarge(usize),
    /// The body did not arrive in time.
    TooSlow,
    /// Too many requests at once.
    Busy,
    /// Logs and artifacts are unavailable at the moment.
    NoStorage(anyhow::Error),
    /// Postgres cannot be reached, or has no schema yet.
    Unavailable(anyhow::Error),
    /// An error in Trainyard itself.
    Internal(anyhow::Error),
}

impl Error {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::NotFound(_) | Self::Hidden(_) | Self::TravisOff => StatusCode::NOT_FOUND,
            Self::Gone(_) => StatusCode::GONE,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::TooManyTries => StatusCode::TOO_MANY_REQUESTS,
            Self::BadSignature
            | Self::BadForgeSignature
            | Self::BadTravisSignature
            | Self::NoToken
            | Self::WrongToken => StatusCode::UNAUTHORIZED,
            Self::WrongScope(_) | Self::Forbidden(_) | Self::Foreign => StatusCode::FORBIDDEN,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::OtherRequest => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::NoWebhookSecret
            | Self::NoTravisKey(_)
            | Self::Busy
            | Self::RightUnknown
            | Self::NoStorage(_)
            | Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Returns a message that says what happened, and what helps.
    pub(super) fn words(&self) -> String {
        match self {
            Self::NotFound(what) => format!("There is no such {what} here."),
            Self::Hidden(what) => format!("There is no such {what} here, or it is private: log in to see it."),
            Self::BadRequest(why) | Self::Conflict(why) | Self::Gone(why) | Self::Forbidden(why) => why.clone(),
            Self::Foreign => "The request does not come from a page of this server, or the page is too old: load it \
                again. Programs send a token instead of a cookie."
                .to_owned(),
            Self::TooManyTries => "Too many logins failed. Try again in a quarter of an hour.".to_owned(),
            Self::RightUnknown => "GitHub does not answer the question whether you may do this. Try again in a moment; \
                the server's log has the error."
                .to_owned(),
            Self::BadSignature => "The header X-Hub-Signature-256 is missing or does not sign this body. \
                Is the webhook's secret on GitHub the same as github.webhook_secret, or as that of its address in \
                github.webhook_secrets?"
                .to_owned(),
            Self::BadForgeSignature => "The header X-Gitea-Signature is missing or does not sign this body. Does the \
                address of the webhook end with the name of a [[forge]], and is the webhook's secret its \
                webhook_secret?"
                .to_owned(),
            Self::BadTravisSignature => {
                "The header Signature is missing, or is not Travis's signature of this payload. Is \
                travis.config_url or travis.public_key that of the Travis which sends it?"
                    .to_owned()
            }
            Self::TravisOff => "Webhooks of Travis are not taken: the operator has to set travis.on_passed.".to_owned(),
            Self::NoTravisKey(_) => {
                "Travis's public key cannot be fetched at the moment. The server's log has the error.".to_owned()
            }
            Self::WrongScope(repo) => format!(
                "This secret is not for {repo}. A repository or an owner with its own secret has a webhook with its own \
                 address: /webhooks/github/{} or /webhooks/github/{repo}.",
                repo.owner()
            ),
            Self::NoToken => {
                "This needs the header `Authorization: Bearer TOKEN`, with a token of /settings/tokens, or of [auth] in \
                the server's configuration."
                    .to_owned()
            }
            Self::WrongToken => "This token is not among those of [auth] in the server's configuration, and none of \
                /settings/tokens that is still good."
                .to_owned(),
            Self::NoWebhookSecret => "Webhooks cannot be verified: the operator has to set github.webhook_secret \
                to the secret that GitHub signs them with."
                .to_owned(),
            Self::TooLarge(most) => {
                format!("The body is larger than {}, which is the most here.", bytesize::ByteSize::b(*most as u64))
            }
            Self::WrongMethod => "This address has other methods: see the header Allow.".to_owned(),
            Self::OtherRequest => "This idempotency key was sent before, with another body. Each request needs a key of \
                its own."
                .to_owned(),
            Self::TooSlow => "The body did not arrive in time.".to_owned(),
            Self::Busy => "There are too many requests at the moment. Try again in a few seconds.".to_owned(),
            Self::NoStorage(_) => "The storage of logs and artifacts does not answer. Nothing is lost; try again in a \
                while. The server's log has the error."
                .to_owned(),
            Self::Unavailable(_) => {
                "Postgres is not reachable. Nothing is lost; this page is trying again every few seconds.".to_owned()
            }
            Self::Internal(_) => "Something went wrong on our side. The server's log has the error.".to_owned(),
        }
    }

    fn log(&self) {
        match self {
            Self::Unavailable(inner) => warn!("Postgres is not reachable: {inner:#}"),
            Self::NoTravisKey(inner) => warn!("a webhook of Travis was rejected: {inner}"),
            Self::NoStorage(inner) => warn!("a request failed: {inner:#}"),
            Self::Internal(inner) => error!("a request failed: {inner:#}"),
            Self::NoWebhookSecret => warn!("a webhook was rejected because github.webhook_secret is not set"),
            _ => {}
        }
    }

    pub(super) fn respond(self, body: impl IntoResponse) -> Response {
        self.log();
        let mut response = (self.status(), body).into_response();
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Self::Unavailable(_) | Self::Busy = self {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
        }
        response
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        if is_too_slow(&error) {
            Self::Busy
        } else if is_unreachable(&error) {
            Self::Unavailable(error.into())
        } else {
            Self::Internal(error.into())
        }
    }
}

impl From<Arc<sqlx::Error>> for Error {
    fn from(error: Arc<sqlx::Error>) -> Self {
        if is_unreachable(&error) { Self::Unavailable(error.into()) } else { Self::Internal(error.into()) }
    }
}

impl From<anyhow::Error> for Error {
    fn from(error: anyhow::Error) -> Self {
        if error.downcast_ref::<Away>().is_some() {
            return Self::NoStorage(error);
        }
        if error.chain().filter_map(|cause| cause.downcast_ref()).any(is_too_slow) {
            return Self::Busy;
        }
        let unreachable = error.chain().filter_map(|cause| cause.downcast_ref()).any(is_unreachable);
        if unreachable { Self::Unavailable(error) } else { Self::Internal(error) }
    }
}

impl From<askama::Error> for Error {
    fn from(error: askama::Error) -> Self {
        Self::Internal(error.into())
    }
}

/// Returns true if a statement took longer than a page may (query_canceled).
fn is_too_slow(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(inner) if inner.code().as_deref() == Some("57014"))
}

fn is_unreachable(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => true,
        sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => true,
        // undefined_table (before the migration), invalid_catalog_name, and the classes "insufficient resources" and
        // "operator intervention" (starting up, shutting down).
        sqlx::Error::Database(inner) => inner.code().is_some_and(|code| {
            code == "42P01" || code == "3D000" || code.starts_with("53") || code.starts_with("57P")
        }),
        _ => false,
    }
}

/// An [`Error`] for clients of Travis.
#[derive(Debug)]
pub(super) struct InTravisForm(Error);

impl<E: Into<Error>> From<E> for InTravisForm {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for InTravisForm {
    fn into_response(self) -> Response {
        let kind = match self.0.status() {
            StatusCode::NOT_FOUND => "not_found",
            StatusCode::BAD_REQUEST => "wrong_params",
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "login_required",
            _ => "server_error",
        };
        let body = json!({"@type": "error", "error_type": kind, "error_message": self.0.words()});
        self.0.respond(Json(body))
    }
}

/// Returns the response to a request for this path, in the form that its client reads.
pub(super) fn in_form_of(path: &str, error: Error) -> Response {
    if path.starts_with("/api/travis/") {
        InTravisForm(error).into_response()
    } else if path.starts_with("/api/") {
        InJson::from(error).into_response()
    } else {
        error.into_response()
    }
}
