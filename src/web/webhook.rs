//! Deliveries from GitHub: verified, stored and acknowledged. Intake decides later what to build.

use std::str;

use axum::Json;
use axum::body::Bytes;
use axum::extract;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use secrecy::ExposeSecret as _;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tracing::info;

use super::State;
use super::error::{Error, InJson};
use crate::domain::{DeliveryId, pg_text};
use crate::github::event::{self, Event};
use crate::github::signature;
use crate::store::deliveries::Stored;

/// Maximum size of a payload that GitHub sends, in bytes.
pub(super) const MAX_BODY: usize = 25 * 1024 * 1024;
const MAX_EVENT: usize = 100;

const DELIVERY: HeaderName = HeaderName::from_static("x-github-delivery");
const EVENT: HeaderName = HeaderName::from_static("x-github-event");
const SIGNATURE: HeaderName = HeaderName::from_static("x-hub-signature-256");

/// `POST /webhooks/github`
pub(super) async fn github(
    extract::State(state): extract::State<State>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<Value>), InJson> {
    let secret = state.webhook_secret.as_ref().ok_or(Error::NoWebhookSecret)?;
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Error::TooLarge,
        _ => Error::BadRequest("The body did not arrive whole.".to_owned()),
    })?;
    // Verified before anything else reads the body: only GitHub's payloads may be parsed.
    let signed = text(&headers, &SIGNATURE);
    if !signed.is_some_and(|signature| signature::is_valid(secret.expose_secret().as_bytes(), &body, signature)) {
        return Err(Error::BadSignature.into());
    }
    let id: DeliveryId = text(&headers, &DELIVERY)
        .ok_or_else(|| Error::BadRequest("The header X-GitHub-Delivery is missing.".to_owned()))?
        .parse()
        .map_err(|error| Error::BadRequest(format!("The header X-GitHub-Delivery: {error}.")))?;
    let event = text(&headers, &EVENT)
        .filter(|event| !event.is_empty() && event.len() <= MAX_EVENT)
        .ok_or_else(|| Error::BadRequest("The header X-GitHub-Event is missing or too long.".to_owned()))?;
    let json = payload(&headers, &body)?;
    // Most deliveries ask for no build and need no intake. Intake parses the others again from their rows, so that the
    // row is all that it needs.
    let outcome = match event::parse(event, &json) {
        Ok(Event::Build(..)) => None,
        Ok(Event::Ignored(reason)) => Some(reason),
        Err(error) => {
            check_json(&json)?;
            Some(format!("{error:#}"))
        }
    };
    // Postgres has no NUL in text. It would reject the other deliveries of the same transaction as well.
    let outcome = outcome.map(|reason| pg_text(&reason));
    let said = match state.deliveries.put(&id, event, &json, outcome.as_deref()).await? {
        Stored::Duplicate => "already processed",
        Stored::New => {
            match outcome {
                None => state.bells.intake.ring(),
                Some(reason) => info!(delivery = %id, "delivery {id} asks for no build: {reason}"),
            }
            "accepted"
        }
    };
    Ok((StatusCode::ACCEPTED, Json(json!({ "delivery": id.as_str(), "state": said }))))
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Returns the JSON in the body: the whole body, or its form field `payload`, depending on the webhook's content type
/// on GitHub.
fn payload(headers: &HeaderMap, body: &Bytes) -> Result<Bytes, Error> {
    let content_type = text(headers, &header::CONTENT_TYPE).unwrap_or_default();
    let json = if content_type.starts_with("application/x-www-form-urlencoded") {
        let field = url::form_urlencoded::parse(body).find(|(name, _)| name == "payload");
        let (_, value) = field.ok_or_else(|| Error::BadRequest("The form has no field `payload`.".to_owned()))?;
        Bytes::from(value.into_owned())
    } else {
        body.clone()
    };
    Ok(json)
}

/// Checks that a payload is JSON. One with unknown content is kept, but one that is not JSON is rejected.
fn check_json(json: &[u8]) -> Result<(), Error> {
    let invalid = |why: String| Error::BadRequest(format!("The body is not JSON: {why}."));
    let text = str::from_utf8(json).map_err(|error| invalid(error.to_string()))?;
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| invalid(error.to_string()))?;
    Ok(())
}
