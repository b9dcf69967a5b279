//! Webhooks of Gitea and Forgejo: verified, stored and acknowledged, as GitHub's are.

use std::time::Instant;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{self, Path, Request};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use serde_json::Value;

use super::{Accepted, ContentType, MAX_BODY, MAX_EVENT, check_json, content_type, field, put, text};
use crate::domain::{DeliveryId, pg_text};
use crate::github::ForgeConfig;
use crate::github::event::{self, Event};
use crate::github::signature::Signature;
use crate::store::deliveries::{Received, Source};
use crate::web::State;
use crate::web::error::Error;

const DELIVERY: HeaderName = HeaderName::from_static("x-gitea-delivery");
const EVENT: HeaderName = HeaderName::from_static("x-gitea-event");
const SIGNATURE: HeaderName = HeaderName::from_static("x-gitea-signature");

/// `POST /webhooks/forge/{name}`
pub(in crate::web) async fn receive(
    extract::State(state): extract::State<State>,
    Path(name): Path<String>,
    request: Request,
) -> Accepted {
    Ok(take(&state, &name, request).await?)
}

async fn take(state: &State, name: &str, request: Request) -> Result<(StatusCode, Json<Value>), Error> {
    let began = Instant::now();
    let (parts, body) = request.into_parts();
    // Everything that can be refused without the body is refused before it is read.
    let forge = state.forges.iter().find(|forge| forge.name == name).ok_or(Error::BadForgeSignature)?;
    let signature = text(&parts.headers, &SIGNATURE).and_then(Signature::read_digits);
    let signature = signature.ok_or(Error::BadForgeSignature)?;
    let (id, event) = (id(&parts.headers, &forge.name)?, event_of(&parts.headers)?);
    let received = state.webhook_room.receive(body, MAX_BODY).await?;
    let json = match content_type(&parts.headers) {
        ContentType::Json => received.bytes.clone(),
        // Gitea signs the text in the form, and not the form. Nothing parses the text before it is verified.
        ContentType::Form => field(&received.bytes)?,
    };
    let (known, signed) = (forge.clone(), json.clone());
    let is_signed = tokio::task::spawn_blocking(move || known.webhook_secret.sign(&signed, signature)).await;
    if !is_signed.map_err(anyhow::Error::from)? {
        return Err(Error::BadForgeSignature);
    }
    let (repo, outcome) = examine(forge, event, &json)?;
    let received_delivery = Received {
        id: &id,
        source: Source::Gitea,
        event,
        repo: repo.as_deref(),
        signed_scope: None,
        body: &json,
        outcome: outcome.as_deref(),
    };
    let answer = put(state, received_delivery, began).await;
    // Until here, the body takes room in memory.
    drop(received);
    answer
}

/// Returns the id of a delivery. That of one server must not hide one of another server, or of GitHub.
fn id(headers: &HeaderMap, forge: &str) -> Result<DeliveryId, Error> {
    let id = text(headers, &DELIVERY)
        .ok_or_else(|| Error::BadRequest("The header X-Gitea-Delivery is missing.".to_owned()))?;
    let invalid = |error| Error::BadRequest(format!("The header X-Gitea-Delivery: {error}."));
    format!("forge-{forge}-{id}").parse().map_err(invalid)
}

fn event_of(headers: &HeaderMap) -> Result<&str, Error> {
    text(headers, &EVENT)
        .filter(|event| !event.is_empty() && event.len() <= MAX_EVENT)
        .ok_or_else(|| Error::BadRequest("The header X-Gitea-Event is missing or too long.".to_owned()))
}

/// Returns the name of the repository of a verified payload, and the reason why it asks for no build, if so.
fn examine(forge: &ForgeConfig, event: &str, json: &Bytes) -> Result<(Option<String>, Option<String>), Error> {
    let mut named = None;
    let outcome = match event::parse(event, json) {
        Ok(Event::Build(repository, _)) if forge.has(repository.name.owner()) => {
            named = Some(repository.name.to_string());
            None
        }
        Ok(Event::Build(repository, _)) => {
            let owner = repository.name.owner();
            Some(format!("refused: {owner} is not among the owners of the forge {} in config.toml", forge.name))
        }
        Ok(Event::Ask(..)) => Some("commands and buttons are for repositories on GitHub".to_owned()),
        Ok(Event::Installations(words) | Event::Repository(_, words)) => Some(words),
        Ok(Event::Ignored(reason)) => Some(reason),
        Err(error) => {
            check_json(json)?;
            Some(format!("{error:#}"))
        }
    };
    Ok((named, outcome.map(|reason| pg_text(&reason))))
}
