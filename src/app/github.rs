//! The GitHub App that is stored in the database, in the client of GitHub; and the secrets for GitHub.

use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use secrecy::ExposeSecret as _;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::Config;
use crate::github::{AppKey, Client, OAuthClient};
use crate::store::sealed::github_app::{App, StoredApp};

/// Interval at which the stored App is compared with the one in use.
const INTERVAL: Duration = Duration::from_secs(5);

/// Warns of secrets without which GitHub can neither tell nor be told anything.
pub(super) fn warn_of_missing_secrets(config: &Config) {
    if config.github.webhook_secret.is_empty() && config.github.webhook_secrets.is_empty() {
        warn!("github.webhook_secret is not set: webhooks are rejected, unless trainyard webhook-secret has made one");
    }
    if config.github.token.is_none() && config.github.app_id.is_none() {
        warn!(
            "neither github.token nor github.app_id is set: private repositories cannot be fetched, and GitHub accepts no \
             statuses, unless an App was registered on the page /setup or by trainyard setup github"
        );
    }
}

/// Keeps the App of `client` as it is stored, until `shutdown`. The App in use stays while Postgres is away.
pub(super) async fn keep_app(stored: StoredApp, client: Client, shutdown: CancellationToken) {
    let mut known: Option<DateTime<Utc>> = None;
    // Configured credentials for logins win.
    let takes_login = client.oauth().is_none();
    while !shutdown.is_cancelled() {
        if let Err(error) = update(&stored, &client, takes_login, &mut known).await {
            warn!("the stored GitHub App: {error:#}");
        }
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = shutdown.cancelled() => {}
        }
    }
}

/// Takes over the stored App if it has changed since `known`.
async fn update(
    stored: &StoredApp,
    client: &Client,
    takes_login: bool,
    known: &mut Option<DateTime<Utc>>,
) -> anyhow::Result<()> {
    let changed_at = stored.changed_at().await.context("reading its last change")?;
    if changed_at == *known {
        return Ok(());
    }
    let app = stored.read().await?;
    let keys = app.as_ref().map(keys).transpose()?.unwrap_or_default();
    info!("GitHub is asked with {} of the stored GitHub App", if keys.is_empty() { "no key" } else { "the key" });
    client.set_app(keys);
    if takes_login {
        client.set_oauth(app.and_then(|app| app.login).map(|(id, secret)| OAuthClient { id, secret }));
    }
    *known = changed_at;
    Ok(())
}

/// Reads the keys of a stored App.
pub(super) fn keys(app: &App) -> anyhow::Result<Vec<AppKey>> {
    let read = |pem| AppKey::from_pem(app.id.cast_unsigned(), pem);
    let keys = app.keys.iter().map(|pem| read(pem.expose_secret())).collect::<Result<_, _>>();
    keys.context("the stored key of the GitHub App")
}
