//! Secrets of webhooks that are stored here, under the server's seal, rather than written in the configuration.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use secrecy::SecretString;
use sqlx::PgPool;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::{error, warn};

use crate::repo_keys::Seal;

/// Time for which read secrets count as current, so that a delivery costs no query. A new secret is good after it.
const CURRENT_FOR: Duration = Duration::from_secs(5);

/// Secrets in the clear by their scope: one, or two while it changes; none when they cannot be opened.
pub type Stored = BTreeMap<String, Vec<SecretString>>;

/// All stored secrets of webhooks.
#[derive(Debug, Clone)]
pub struct StoredSecrets {
    db: PgPool,
    seal: Arc<Seal>,
    read: Arc<Mutex<LastRead>>,
}

/// Result of the last reading. After a failure the older secrets stay; without any, there is nothing to check against.
#[derive(Debug, Default)]
struct LastRead {
    tried: Option<Instant>,
    stored: Option<Arc<Stored>>,
}

impl StoredSecrets {
    /// Returns the secrets in this database, under this seal.
    pub fn new(db: PgPool, seal: Arc<Seal>) -> Self {
        Self { db, seal, read: Arc::default() }
    }

    /// Returns all secrets, as they were a few seconds ago at most.
    ///
    /// # Errors
    /// Fails when Postgres does not answer.
    pub async fn all(&self) -> anyhow::Result<Arc<Stored>> {
        // Held during the query, so that many deliveries cause one.
        let mut last = self.read.lock().await;
        if last.tried.is_none_or(|tried| tried.elapsed() >= CURRENT_FOR) {
            let read = self.read().await;
            last.tried = Some(Instant::now());
            match read {
                Ok(stored) => last.stored = Some(Arc::new(stored)),
                Err(error) if last.stored.is_some() => warn!("the known secrets of webhooks stay good: {error:#}"),
                Err(error) => return Err(error),
            }
        }
        // Postgres did not answer a moment ago. To ask again for each delivery would keep all of them waiting.
        last.stored.clone().ok_or_else(|| sqlx::Error::PoolTimedOut.into())
    }

    async fn read(&self) -> anyhow::Result<Stored> {
        let rows: Vec<(String, Vec<u8>, Option<Vec<u8>>)> =
            sqlx::query_as("select scope, secret, previous from webhook_secret")
                .fetch_all(&self.db)
                .await
                .context("reading the secrets of webhooks")?;
        let mut stored = Stored::new();
        for (scope, secret, previous) in rows {
            let mut secrets = Vec::new();
            for sealed in [Some(secret), previous].into_iter().flatten() {
                match self.open(&scope, &sealed) {
                    Ok(secret) => secrets.push(secret),
                    Err(failure) => error!("a stored secret of the webhooks of {scope} is not good: {failure:#}"),
                }
            }
            // An empty list, too: it keeps the scope closed to the secret of a wider one.
            stored.insert(scope, secrets);
        }
        Ok(stored)
    }

    fn open(&self, scope: &str, sealed: &[u8]) -> anyhow::Result<SecretString> {
        let clear = self.seal.open(&name(scope), sealed).context(
            "is the file `seal.key` in the data folder the one it was made with? If that one is lost, run trainyard \
             webhook-secret with --remove",
        )?;
        Ok(std::str::from_utf8(&clear).context("a stored webhook secret")?.into())
    }

    /// Stores a new secret of a scope. The secret before it stays good. Returns false, and changes nothing, while the one
    /// before that is good as well.
    pub async fn change(&self, scope: &str, secret: &str) -> anyhow::Result<bool> {
        let changed = sqlx::query(
            "insert into webhook_secret (scope, secret) values ($1, $2)
             on conflict (scope) do update
             set previous = webhook_secret.secret, secret = excluded.secret, changed_at = now()
             where webhook_secret.previous is null",
        )
        .bind(scope)
        .bind(self.seal.seal(&name(scope), secret.as_bytes())?)
        .execute(&self.db)
        .await
        .context("storing the secret of a webhook")?;
        // Good at once in this process.
        self.read.lock().await.tried = None;
        Ok(changed.rows_affected() == 1)
    }

    /// Forgets the previous secret of a scope. Returns false if there is none.
    pub async fn end_previous(&self, scope: &str) -> sqlx::Result<bool> {
        let ended = sqlx::query("update webhook_secret set previous = null where scope = $1 and previous is not null")
            .bind(scope)
            .execute(&self.db)
            .await?;
        Ok(ended.rows_affected() == 1)
    }

    /// Forgets both secrets of a scope. Returns false if there is none.
    pub async fn remove(&self, scope: &str) -> sqlx::Result<bool> {
        let removed = sqlx::query("delete from webhook_secret where scope = $1").bind(scope).execute(&self.db).await?;
        Ok(removed.rows_affected() == 1)
    }
}

/// Returns the name under which a scope's secrets are sealed.
fn name(scope: &str) -> String {
    format!("webhook secret of {scope}")
}
