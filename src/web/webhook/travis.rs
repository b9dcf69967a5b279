//! Webhooks of Travis CI: verified, stored and acknowledged, as GitHub's are.

use std::time::Instant;

use axum::Json;
use axum::body::Bytes;
use axum::extract;
use axum::extract::Request;
use axum::http::{HeaderName, StatusCode, header};
use chrono::{TimeDelta, Utc};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{Accepted, check_json, field, put, text};
use crate::domain::{DeliveryId, RepoName, pg_text};
use crate::store::deliveries::{Received, Source};
use crate::store::repos;
use crate::travis_ci::event::{self, Payload, Request as Asked};
use crate::travis_ci::signature::Signature;
use crate::travis_ci::{OnPassed, TravisConfig, TravisKeys};
use crate::web::State;
use crate::web::error::Error;

/// Maximum size of a form, in bytes. It has the config and the commit message once for each of up to 200 jobs.
const MAX_BODY: usize = 4 << 20;
/// Age of a build on Travis from which its webhook counts as a replay. Travis sends it within seconds, and deliveries are
/// kept for longer than this (`retention.deliveries`).
const MAX_AGE: TimeDelta = TimeDelta::hours(24);
/// Time for which Travis's clock may be ahead of ours.
const MAX_AHEAD: TimeDelta = TimeDelta::minutes(10);
/// Name of the event, for the row.
const EVENT: &str = "build";
/// Number of hexadecimal digits of a body's digest in the id of its delivery.
const DIGITS: usize = 32;

const SIGNATURE: HeaderName = HeaderName::from_static("signature");

/// Acceptance of Travis's webhooks.
#[derive(Debug, Clone)]
pub struct Travis {
    on_passed: OnPassed,
    keys: TravisKeys,
}

impl Travis {
    /// Returns the acceptance that the configuration asks for.
    pub fn new(config: &TravisConfig) -> Self {
        Self { on_passed: config.on_passed, keys: TravisKeys::new(config) }
    }
}

/// `POST /webhooks/travis`
pub(in crate::web) async fn receive(extract::State(state): extract::State<State>, request: Request) -> Accepted {
    Ok(take(&state, request).await?)
}

async fn take(state: &State, request: Request) -> Result<(StatusCode, Json<Value>), Error> {
    let Travis { on_passed, keys } = &state.travis;
    if *on_passed == OnPassed::None {
        return Err(Error::TravisOff);
    }
    let began = Instant::now();
    let (parts, body) = request.into_parts();
    // Everything that can be refused without the body is refused before it is read.
    let signature = text(&parts.headers, &SIGNATURE).and_then(Signature::read).ok_or(Error::BadTravisSignature)?;
    if !text(&parts.headers, &header::CONTENT_TYPE)
        .is_some_and(|it| it.starts_with("application/x-www-form-urlencoded"))
    {
        return Err(Error::BadRequest("The body is not a form, which Travis sends.".to_owned()));
    }
    let key = keys.current().await.map_err(Error::NoTravisKey)?;
    let received = state.webhook_room.receive(body, MAX_BODY).await?;
    let json = field(&received.bytes)?;
    // Travis signs the text in the form, and not the form. Nothing parses the text before it is verified.
    let is_signed = key.verifies(&json, &signature)
        || keys.after(&key).await.is_some_and(|newer| newer.verifies(&json, &signature));
    if !is_signed {
        return Err(Error::BadTravisSignature);
    }
    let Examined { id, repo, outcome } = examine(state, &json).await?;
    let repo = repo.map(|repo| repo.to_string());
    let delivery = Received {
        id: &id,
        source: Source::Travis,
        event: EVENT,
        repo: repo.as_deref(),
        signed_scope: None,
        body: &json,
        outcome: outcome.as_deref(),
    };
    let answer = put(state, delivery, began).await;
    // Until here, the body takes room in memory.
    drop(received);
    answer
}

/// A verified payload.
struct Examined {
    id: DeliveryId,
    /// Repository of a build that it asks for.
    repo: Option<RepoName>,
    /// Reason why it asks for no build.
    outcome: Option<String>,
}

async fn examine(state: &State, json: &Bytes) -> Result<Examined, Error> {
    let payload = match event::parse(json) {
        Ok(payload) => payload,
        Err(error) => {
            check_json(json)?;
            let outcome = Some(pg_text(&format!("{error:#}")));
            return Ok(Examined { id: id(0, "unknown", json)?, repo: None, outcome });
        }
    };
    let Payload { id: build, state: word, request } = payload;
    let mut repo = None;
    let outcome = match request {
        Asked::Nothing(reason) => Some(reason),
        Asked::Build { trigger, finished_at } => {
            repo = Some(trigger.repo.clone());
            let age = Utc::now() - finished_at;
            if age > MAX_AGE || -age > MAX_AHEAD {
                Some(format!("refused: the build on Travis ended at {finished_at}, which is not in the last day"))
            } else {
                unknown(state, &trigger.repo).await?
            }
        }
    };
    Ok(Examined { id: id(build, &word, json)?, repo, outcome })
}

/// Returns the reason why a repository gets no build, if it is not known. Travis signs for everyone who builds there.
async fn unknown(state: &State, repo: &RepoName) -> Result<Option<String>, Error> {
    let known = repos::find(&state.db, repo).await?;
    Ok(known.is_none().then(|| format!("{repo} is not known here: GitHub has sent no webhook about it")))
}

/// Makes the id of a payload: another one with the same build, state and text is the same delivery.
fn id(build: i64, state: &str, json: &[u8]) -> Result<DeliveryId, Error> {
    let digest = hex::encode(Sha256::digest(json));
    let id = format!("travis-{build}-{state}-{}", &digest[..DIGITS]);
    id.parse().map_err(|error| Error::Internal(anyhow::anyhow!("{error}")))
}
