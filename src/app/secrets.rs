//! What the service has stored under its seal, for a command that runs next to it.

use std::sync::Arc;

use anyhow::Context as _;
use sqlx::PgPool;

use super::folder::seal_of_server;
use crate::config::Config;
use crate::store::postgres::examine;
use crate::store::variables::Variables;
use crate::store::webhook_secrets::StoredSecrets;

/// Opens the secrets of webhooks in the database of a service on this machine.
///
/// # Errors
/// Fails when the service is not running, and when its folder or its database cannot be read.
pub async fn stored_secrets(config: &Config) -> anyhow::Result<StoredSecrets> {
    let data = &config.server.data_dir;
    let options = match config.database.options()? {
        Some(options) => options,
        None => examine::private(data).await?.running.with_context(|| {
            format!("the private Postgres in {} is not running: start trainyard serve first", data.display())
        })?,
    };
    let seal = Arc::new(seal_of_server(data)?);
    Ok(StoredSecrets::new(config.database.pools(options).steps, seal))
}

/// Returns the variables of repositories in this database, which is that of a service on this machine.
///
/// # Errors
/// Fails when the service's folder cannot be read.
pub fn variables(config: &Config, db: PgPool) -> anyhow::Result<Variables> {
    Ok(Variables::new(db, Arc::new(seal_of_server(&config.server.data_dir)?)))
}
