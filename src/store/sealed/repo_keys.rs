//! Key pairs of repositories. A pair is made at the first request for it, and stored with its private half sealed.

use std::sync::Arc;

use anyhow::Context as _;
use sqlx::PgPool;
use tokio::sync::Mutex;

use crate::domain::RepoId;
use crate::repo_keys::{PrivateKey, Seal};

/// The key pairs of all repositories.
#[derive(Debug, Clone)]
pub struct RepoKeys {
    db: PgPool,
    seal: Arc<Seal>,
    /// Only one pair is made at a time, so that many requests cannot occupy all processors.
    making: Arc<Mutex<()>>,
}

const PUBLIC_KEY: &str = "select public_key from repo_key where repo_id = $1";

impl RepoKeys {
    /// Returns the key pairs in this database, under this seal.
    pub fn new(db: PgPool, seal: impl Into<Arc<Seal>>) -> Self {
        Self { db, seal: seal.into(), making: Arc::default() }
    }

    /// Reads the repository's private key. Returns `None` if the public one was never requested: then nothing can have
    /// been encrypted.
    ///
    /// # Errors
    /// Fails when the key was sealed by another server, and when Postgres does not answer.
    pub async fn private(&self, repo: RepoId) -> anyhow::Result<Option<PrivateKey>> {
        let stored: Option<Vec<u8>> = sqlx::query_scalar("select private_key from repo_key where repo_id = $1")
            .bind(repo)
            .fetch_optional(&self.db)
            .await
            .context("reading the repository's key")?;
        let Some(sealed) = stored else { return Ok(None) };
        let clear = self.seal.open(&name(repo), &sealed).context(
            "the repository's stored key: is the file `seal.key` in the data folder the one it was made with?",
        )?;
        Ok(Some(PrivateKey::from_pkcs8(&clear).context("the repository's stored key")?))
    }

    /// Returns true if the seal opens a stored key, or if there is none.
    pub async fn seal_fits(&self) -> sqlx::Result<bool> {
        let stored: Option<(RepoId, Vec<u8>)> =
            sqlx::query_as("select repo_id, private_key from repo_key order by repo_id limit 1")
                .fetch_optional(&self.db)
                .await?;
        Ok(stored.is_none_or(|(repo, sealed)| self.seal.open(&name(repo), &sealed).is_ok()))
    }

    /// Returns the repository's public key as PEM. Makes the pair if there is none.
    pub async fn public(&self, repo: RepoId) -> anyhow::Result<String> {
        if let Some(stored) = self.stored(repo).await? {
            return Ok(stored);
        }
        let _making = self.making.lock().await;
        if let Some(stored) = self.stored(repo).await? {
            return Ok(stored);
        }
        // This takes about a second, so it must not block a thread that serves others.
        let made = tokio::task::spawn_blocking(|| -> anyhow::Result<_> {
            let key = PrivateKey::generate()?;
            Ok((key.to_pkcs8()?, key.public_pem()?))
        });
        let (private, public) = made.await.context("making a key pair")??;
        // If another process was faster, its pair counts.
        sqlx::query(
            "insert into repo_key (repo_id, private_key, public_key) values ($1, $2, $3) on conflict do nothing",
        )
        .bind(repo)
        .bind(self.seal.seal(&name(repo), &private)?)
        .bind(public)
        .execute(&self.db)
        .await?;
        self.stored(repo).await?.context("a key pair that was stored is gone")
    }

    async fn stored(&self, repo: RepoId) -> sqlx::Result<Option<String>> {
        sqlx::query_scalar(PUBLIC_KEY).bind(repo).fetch_optional(&self.db).await
    }
}

/// Returns the name under which a key is sealed.
fn name(repo: RepoId) -> String {
    format!("private key of repository {}", repo.0)
}
