//! Key pairs of repositories. Made when one is first asked for, and kept.

use anyhow::Context as _;
use sqlx::PgPool;

use crate::domain::RepoId;
use crate::keys::PrivateKey;

/// The repository's private key; None while nobody has asked for the public one, so that nothing can be encrypted.
///
/// # Errors
/// When Postgres cannot be asked, or what it holds is no key.
pub async fn private(db: &PgPool, repo: RepoId) -> anyhow::Result<Option<PrivateKey>> {
    let stored: Option<Vec<u8>> = sqlx::query_scalar("select private_key from repo_key where repo_id = $1")
        .bind(repo)
        .fetch_optional(db)
        .await
        .context("reading the repository's key")?;
    stored.map(|der| PrivateKey::from_pkcs8(&der).context("the repository's stored key")).transpose()
}

/// The repository's public key as PEM; makes the pair when there is none.
///
/// # Errors
/// When Postgres cannot be asked.
pub async fn public(db: &PgPool, repo: RepoId) -> anyhow::Result<String> {
    const SELECT: &str = "select public_key from repo_key where repo_id = $1";
    let stored: Option<String> = sqlx::query_scalar(SELECT).bind(repo).fetch_optional(db).await?;
    if let Some(stored) = stored {
        return Ok(stored);
    }
    // A second of work: not on a thread that serves others.
    let made = tokio::task::spawn_blocking(|| -> anyhow::Result<_> {
        let key = PrivateKey::generate()?;
        Ok((key.to_pkcs8()?, key.public_pem()?))
    });
    let (private, public) = made.await.context("making a key pair")??;
    // Whoever comes second keeps the first one's pair.
    sqlx::query("insert into repo_key (repo_id, private_key, public_key) values ($1, $2, $3) on conflict do nothing")
        .bind(repo)
        .bind(private.as_slice())
        .bind(public)
        .execute(db)
        .await?;
    Ok(sqlx::query_scalar(SELECT).bind(repo).fetch_one(db).await?)
}
