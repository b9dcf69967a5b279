//! What the service has stored under its seal, for a command that runs next to it.

use std::sync::Arc;

use anyhow::Context as _;
use sqlx::PgPool;

use super::folder::seal_of_server;
use crate::config::Config;
use crate::repo_keys::Seal;
use crate::store::postgres::examine;
use crate::store::variables::Variables;
use crate::store::webhook_secrets::StoredSecrets;

/// Opens the secrets of webhooks in the database of a service on this machine.
///
/// # Errors
/// Fails when the service is not running, and when its folder or its database cannot be read.
pub async fn stored_secrets(config: &Config) -> anyhow::Result<StoredSecrets> {
    let (db, seal) = opened(config).await?;
    Ok(StoredSecrets::new(db, seal))
}

/// Opens the variables of repositories in the database of a service on this machine, and returns that database, too.
///
/// # Errors
/// Fails when the service is not running, and when its folder or its database cannot be read.
pub async fn variables(config: &Config) -> anyhow::Result<(PgPool, Variables)> {
    let (db, seal) = opened(config).await?;
    Ok((db.clone(), Variables::new(db, seal)))
}

async fn opened(config: &Config) -> anyhow::Result<(PgPool, Arc<Seal>)> {
    let data = &config.server.data_dir;
    let options = match config.database.options()? {
        Some(options) => options,
        None => examine::private(data).await?.running.with_context(|| {
            format!("the private Postgres in {} is not running: start trainyard serve first", data.display())
        })?,
    };
    let seal = Arc::new(seal_of_server(data)?);
    Ok((config.database.pools(options).steps, seal))
}
