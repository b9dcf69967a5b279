//! Deliveries from GitHub, from Gitea and from Travis: verified, stored and acknowledged. Intake decides later what to build.

mod body;
pub(super) mod forge;
mod secrets;
pub(super) mod travis;

use std::str;
use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{self, Path, Request};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tracing::{info, warn};

use super::State;
use super::error::{Error, InJson};
use crate::domain::{DeliveryId, pg_text};
use crate::github::event::{self, Event};
use crate::github::signature::Signature;
use crate::github::{ForgeConfig, Scope};
use crate::store::deliveries::{Received, Source, Stored};
use crate::store::replays::Kept;
use crate::telemetry::traces;
pub use body::Room;
pub use secrets::Secrets;
pub use travis::Travis;

/// Maximum size of a payload that GitHub sends, in bytes.
const MAX_BODY: usize = 25 * 1024 * 1024;
const MAX_EVENT: usize = 100;
/// Size of a body, in bytes, from which its verification would keep other requests waiting.
const LARGE: usize = 1 << 20;

const DELIVERY: HeaderName = HeaderName::from_static("x-github-delivery");
const EVENT: HeaderName = HeaderName::from_static("x-github-event");
const SIGNATURE: HeaderName = HeaderName::from_static("x-hub-signature-256");

type Accepted = Result<(StatusCode, Json<Value>), InJson>;

/// `POST /webhooks/github`: deliveries that a secret for all repositories signs.
pub(super) async fn of_all(extract::State(state): extract::State<State>, request: Request) -> Accepted {
    Ok(receive(state, Scope::All, request).await?)
}

/// `POST /webhooks/github/{owner}`
pub(super) async fn of_owner(
    extract::State(state): extract::State<State>,
    Path(owner): Path<String>,
    request: Request,
) -> Accepted {
    let scope = owner.parse().map_err(|_| Error::BadSignature)?;
    Ok(receive(state, scope, request).await?)
}

/// `POST /webhooks/github/{owner}/{repo}`
pub(super) async fn of_repo(
    extract::State(state): extract::State<State>,
    Path((owner, repo)): Path<(String, String)>,
    request: Request,
) -> Accepted {
    let scope = format!("{owner}/{repo}").parse().map_err(|_| Error::BadSignature)?;
    Ok(receive(state, scope, request).await?)
}

async fn receive(state: State, scope: Scope, request: Request) -> Result<(StatusCode, Json<Value>), Error> {
    let began = Instant::now();
    let (parts, body) = request.into_parts();
    let headers = parts.headers;
    // Everything that can be refused without the body is refused before it is read.
    let signature = text(&headers, &SIGNATURE).and_then(Signature::read).ok_or(Error::BadSignature)?;
    let id: DeliveryId = text(&headers, &DELIVERY)
        .ok_or_else(|| Error::BadRequest("The header X-GitHub-Delivery is missing.".to_owned()))?
        .parse()
        .map_err(|error| Error::BadRequest(format!("The header X-GitHub-Delivery: {error}.")))?;
    let event = text(&headers, &EVENT)
        .filter(|event| !event.is_empty() && event.len() <= MAX_EVENT)
        .ok_or_else(|| Error::BadRequest("The header X-GitHub-Event is missing or too long.".to_owned()))?;
    let secrets = state.webhook_secrets.current().await?;
    if !secrets.has(&scope) {
        return Err(if scope == Scope::All { Error::NoWebhookSecret } else { Error::BadSignature });
    }
    let received = state.webhook_room.receive(body, MAX_BODY).await?;
    let signed_scope = scope.key().to_owned();
    let claims = Claims {
        scope,
        signature,
        event: event.to_owned(),
        content_type: content_type(&headers),
        forges: Arc::clone(&state.forges),
    };
    let bytes = received.bytes.clone();
    let verify = move || claims.verify(&secrets, &bytes);
    let verified = if received.bytes.len() < LARGE {
        verify()?
    } else {
        tokio::task::spawn_blocking(verify).await.map_err(anyhow::Error::from)??
    };
    let Verified { json, repo, outcome } = verified;
    let received_delivery = Received {
        id: &id,
        source: Source::GitHub,
        event,
        repo: repo.as_deref(),
        signed_scope: Some(&signed_scope),
        body: &json,
        outcome: outcome.as_deref(),
    };
    let answer = put(&state, received_delivery, began).await;
    // Until here, the body takes room in memory.
    drop(received);
    answer
}

/// Stores a verified delivery, and tells intake of one that asks for a build.
async fn put(state: &State, received: Received<'_>, began: Instant) -> Result<(StatusCode, Json<Value>), Error> {
    let (id, outcome) = (received.id, received.outcome);
    let said = match state.deliveries.put(received).await? {
        Stored::Duplicate => "already processed",
        Stored::New => {
            match outcome {
                None => {
                    state.bells.intake.ring();
                    // A delivery that asks for no build has no trace: it ends here.
                    let mut span = traces::Parent::delivery(id.as_str()).begin_first("webhook");
                    span.began_before(began.elapsed());
                    span.set("trainyard.delivery", id.as_str().to_owned());
                }
                Some(reason) => info!(delivery = %id, "delivery {id} asks for no build: {reason}"),
            }
            "accepted"
        }
    };
    Ok((StatusCode::ACCEPTED, Json(json!({ "delivery": id.as_str(), "state": said }))))
}

/// Checks that a stored delivery may be worked on again: it asks for something, and it was signed for that.
pub(super) async fn check_replay(state: &State, delivery: &Kept) -> Result<(), Error> {
    let nothing = |reason: &str| Err(Error::Conflict(format!("This delivery asks for no build: {reason}.")));
    let unsigned = || Err(Error::Conflict("This delivery was not signed with the secret that is good now.".to_owned()));
    match delivery.source {
        Source::Request => Ok(()),
        Source::Travis if delivery.asked => Ok(()),
        // The secret of a server is good for all of its repositories, which intake looks at again.
        Source::Gitea if delivery.asked => Ok(()),
        Source::Travis | Source::Gitea => nothing("its outcome says why"),
        Source::GitHub => match event::parse(&delivery.event, &delivery.body) {
            // Of deliveries from before the scope was stored, only those that asked for something were checked.
            Ok(_) if delivery.signed_scope.is_none() && delivery.asked => Ok(()),
            Ok(Event::Build(repository, _) | Event::Ask(repository, _)) => {
                let good = state.webhook_secrets.current().await?.scope_of(&repository.name);
                let is_good = good.is_some_and(|scope| delivery.signed_scope.as_deref() == Some(scope.key()));
                if is_good { Ok(()) } else { unsigned() }
            }
            Ok(Event::Installations(_)) => {
                if delivery.signed_scope.as_deref() == Some(Scope::All.key()) {
                    Ok(())
                } else {
                    unsigned()
                }
            }
            Ok(Event::Repository(..)) => Ok(()),
            Ok(Event::Ignored(reason)) => nothing(&reason),
            Err(error) => nothing(&format!("{error:#}")),
        },
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn content_type(headers: &HeaderMap) -> ContentType {
    match text(headers, &header::CONTENT_TYPE) {
        Some(text) if text.starts_with("application/x-www-form-urlencoded") => ContentType::Form,
        _ => ContentType::Json,
    }
}

/// Form of a body, as it is chosen for the webhook on GitHub.
enum ContentType {
    Json,
    /// JSON in the form field `payload`.
    Form,
}

/// Claims of a request about its body.
struct Claims {
    scope: Scope,
    signature: Signature,
    event: String,
    content_type: ContentType,
    /// Servers whose repositories GitHub does not have.
    forges: Arc<[ForgeConfig]>,
}

/// A body that a known secret has signed.
struct Verified {
    json: Bytes,
    /// Name of the repository that it is about.
    repo: Option<String>,
    /// Reason why it asks for no build.
    outcome: Option<String>,
}

impl Claims {
    fn verify(&self, secrets: &secrets::Current, body: &Bytes) -> Result<Verified, Error> {
        // Verified before anything else reads the body: only GitHub's payloads may be parsed.
        if !secrets.sign(&self.scope, body, self.signature) {
            return Err(Error::BadSignature);
        }
        let json = self.payload(body)?;
        // Most deliveries ask for no build and need no intake. Intake parses the others again from their rows, so that
        // the row is all that it needs.
        let mut named = None;
        let outcome = match event::parse(&self.event, &json) {
            Ok(Event::Build(repository, _) | Event::Ask(repository, _)) => {
                let (repo, scope) = (repository.name, &self.scope);
                named = Some(repo.to_string());
                if secrets.scope_of(&repo).as_ref() != Some(scope) {
                    warn!("a delivery for {repo} was refused: it was signed with a secret of {scope}");
                    return Err(Error::WrongScope(repo));
                }
                let forge = self.forges.iter().find(|forge| forge.has(repo.owner()));
                forge.map(|forge| format!("refused: the repositories of {} are on {}", repo.owner(), forge.name))
            }
            // All that it brings about is a question to GitHub.
            Ok(Event::Repository(..)) => None,
            // The webhook of the App has the secret for all repositories. No other one speaks for it.
            Ok(Event::Installations(_)) if self.scope == Scope::All => None,
            Ok(Event::Installations(words)) => Some(format!("{words}: signed with a secret of {}", self.scope)),
            Ok(Event::Ignored(reason)) => Some(reason),
            Err(error) => {
                check_json(&json)?;
                Some(format!("{error:#}"))
            }
        };
        // Postgres has no NUL in text. It would reject the other deliveries of the same transaction as well.
        let repo = named.or_else(|| event::repository_name(&json).map(|name| name.to_string()));
        Ok(Verified { json, repo, outcome: outcome.map(|reason| pg_text(&reason)) })
    }

    /// Returns the JSON in the body.
    fn payload(&self, body: &Bytes) -> Result<Bytes, Error> {
        match self.content_type {
            ContentType::Json => Ok(body.clone()),
            ContentType::Form => field(body),
        }
    }
}

/// Returns the field `payload` of a form.
fn field(form: &[u8]) -> Result<Bytes, Error> {
    let field = url::form_urlencoded::parse(form).find(|(name, _)| name == "payload");
    let (_, value) = field.ok_or_else(|| Error::BadRequest("The form has no field `payload`.".to_owned()))?;
    Ok(Bytes::from(value.into_owned()))
}

/// Checks that a payload is JSON. One with unknown content is kept, but one that is not JSON is rejected.
fn check_json(json: &[u8]) -> Result<(), Error> {
    let invalid = |why: String| Error::BadRequest(format!("The body is not JSON: {why}."));
    let text = str::from_utf8(json).map_err(|error| invalid(error.to_string()))?;
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| invalid(error.to_string()))?;
    Ok(())
}
