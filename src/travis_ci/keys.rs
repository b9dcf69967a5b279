//! The key that Travis signs its webhooks with: pinned by the configuration, or fetched from Travis and kept.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use http_body_util::{BodyExt as _, Limited};
use reqwest::redirect::Policy;
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::{info, warn};
use url::Url;

use super::TravisConfig;
use super::signature::PublicKey;

/// Time limit for a fetch.
const FETCH_LIMIT: Duration = Duration::from_secs(8);
/// Maximum size of Travis's answer, in bytes. It has some thousand.
const MAX_ANSWER: usize = 256 << 10;
/// Age at which a key is fetched anew.
const CURRENT_FOR: Duration = Duration::from_secs(24 * 3600);
/// Least time between two fetches, whatever strangers send.
const BETWEEN: Duration = Duration::from_secs(60);

/// Error: there is no key to verify with.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the public key of Travis's webhooks cannot be fetched: {0}")]
pub struct KeyError(String);

/// The current key of Travis.
#[derive(Debug, Clone)]
pub struct TravisKeys {
    pinned: Option<PublicKey>,
    address: Url,
    fetched: Arc<Mutex<Fetched>>,
}

#[derive(Debug, Default)]
struct Fetched {
    tried: Option<Instant>,
    key: Option<(PublicKey, Instant)>,
    failure: String,
}

impl TravisKeys {
    /// Returns the keys of this configuration. Nothing is fetched before the first webhook.
    pub fn new(config: &TravisConfig) -> Self {
        let pinned = config.public_key.as_deref().and_then(PublicKey::from_pem);
        Self { pinned, address: config.config_url.clone(), fetched: Arc::default() }
    }

    /// Returns the key.
    ///
    /// # Errors
    /// Fails when no key is known, and Travis does not serve one.
    pub async fn current(&self) -> Result<PublicKey, KeyError> {
        if let Some(pinned) = &self.pinned {
            return Ok(pinned.clone());
        }
        // Held during the fetch, so that many webhooks cause one.
        let mut fetched = self.fetched.lock().await;
        if fetched.key.as_ref().is_none_or(|(_, at)| at.elapsed() > CURRENT_FOR) {
            self.renew(&mut fetched).await;
        }
        let failure = || KeyError(fetched.failure.clone());
        fetched.key.as_ref().map(|(key, _)| key.clone()).ok_or_else(failure)
    }

    /// Returns the key that has replaced `old`, which did not verify a signature: Travis may have a new one.
    pub async fn after(&self, old: &PublicKey) -> Option<PublicKey> {
        if self.pinned.is_some() {
            return None;
        }
        let mut fetched = self.fetched.lock().await;
        if fetched.key.as_ref().is_some_and(|(key, _)| key == old) {
            self.renew(&mut fetched).await;
        }
        fetched.key.as_ref().map(|(key, _)| key.clone()).filter(|key| key != old)
    }

    /// Fetches the key, unless that was tried a moment ago. After a failure, the known key stays.
    async fn renew(&self, fetched: &mut Fetched) {
        if fetched.tried.is_some_and(|tried| tried.elapsed() < BETWEEN) {
            return;
        }
        fetched.tried = Some(Instant::now());
        let answer = tokio::time::timeout(FETCH_LIMIT, fetch(&self.address)).await;
        match answer.context("it took too long").flatten() {
            Ok(key) => {
                info!("{} has the public key of Travis's webhooks", self.address);
                fetched.key = Some((key, Instant::now()));
            }
            Err(error) => {
                fetched.failure = format!("{}: {error:#}", self.address);
                warn!("cannot fetch the public key of Travis's webhooks from {}", fetched.failure);
            }
        }
    }
}

/// The part of Travis's `/config` that is used.
#[derive(Deserialize)]
struct Answer {
    config: ConfigPart,
}

#[derive(Deserialize)]
struct ConfigPart {
    notifications: NotificationsPart,
}

#[derive(Deserialize)]
struct NotificationsPart {
    webhook: WebhookPart,
}

#[derive(Deserialize)]
struct WebhookPart {
    public_key: String,
}

async fn fetch(address: &Url) -> anyhow::Result<PublicKey> {
    let client = reqwest::Client::builder().redirect(Policy::none()).build()?;
    let answer = client.get(address.clone()).send().await.map_err(reqwest::Error::without_url)?;
    ensure!(answer.status().is_success(), "it answers {}", answer.status());
    let body = Limited::new(reqwest::Body::from(answer), MAX_ANSWER).collect().await;
    let body = body.map_err(|error| anyhow::anyhow!("its answer cannot be read: {error}"))?.to_bytes();
    let answer: Answer = serde_json::from_slice(&body).context("its answer is not that of Travis")?;
    PublicKey::from_pem(&answer.config.notifications.webhook.public_key).context("its key is not an RSA public key")
}
