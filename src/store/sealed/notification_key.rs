//! The key pair that signs notifications. It is made at the first request for it, and stored with its private half sealed.

use std::fmt;
use std::sync::Arc;

use anyhow::Context as _;
use sqlx::PgPool;
use tokio::sync::OnceCell;

use crate::repo_keys::{PrivateKey, Seal};

/// Name under which the key is sealed.
const NAME: &str = "key of notifications";

/// The key pair of this installation.
#[derive(Debug, Clone)]
pub struct NotificationKey {
    db: PgPool,
    seal: Arc<Seal>,
    pair: Arc<OnceCell<Pair>>,
}

struct Pair {
    private: Arc<PrivateKey>,
    public: String,
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pair")
    }
}

impl NotificationKey {
    /// Returns the key pair in this database, under this seal.
    pub fn new(db: PgPool, seal: Arc<Seal>) -> Self {
        Self { db, seal, pair: Arc::default() }
    }

    /// Returns the public half as PEM.
    ///
    /// # Errors
    /// Fails when the key was sealed by another server, and when Postgres does not answer.
    pub async fn public(&self) -> anyhow::Result<String> {
        Ok(self.pair().await?.public.clone())
    }

    /// Returns the private half.
    ///
    /// # Errors
    /// Fails as [`Self::public`] does.
    pub async fn private(&self) -> anyhow::Result<Arc<PrivateKey>> {
        Ok(Arc::clone(&self.pair().await?.private))
    }

    async fn pair(&self) -> anyhow::Result<&Pair> {
        self.pair.get_or_try_init(|| self.read_or_make()).await
    }

    async fn read_or_make(&self) -> anyhow::Result<Pair> {
        if let Some(pair) = self.read().await? {
            return Ok(pair);
        }
        // This takes a part of a second, so it must not block a thread that serves others.
        let made = tokio::task::spawn_blocking(|| -> anyhow::Result<_> {
            let key = PrivateKey::generate_for_signatures()?;
            Ok((key.to_pkcs8()?, key.public_pem()?))
        });
        let (private, public) = made.await.context("making a key pair")??;
        // If another process was faster, its pair counts.
        sqlx::query(
            "insert into notification_key (private_key, public_key) values ($1, $2) on conflict (only_row) do nothing",
        )
        .bind(self.seal.seal(NAME, &private)?)
        .bind(public)
        .execute(&self.db)
        .await
        .context("storing the key of notifications")?;
        self.read().await?.context("a key pair that was stored is gone")
    }

    async fn read(&self) -> anyhow::Result<Option<Pair>> {
        let stored: Option<(Vec<u8>, String)> = sqlx::query_as("select private_key, public_key from notification_key")
            .fetch_optional(&self.db)
            .await
            .context("reading the key of notifications")?;
        let Some((sealed, public)) = stored else { return Ok(None) };
        let clear = self.seal.open(NAME, &sealed).context(
            "the stored key of notifications: is the file `seal.key` in the data folder the one it was made with?",
        )?;
        let private = PrivateKey::from_pkcs8(&clear).context("the stored key of notifications")?;
        Ok(Some(Pair { private: Arc::new(private), public }))
    }
}
