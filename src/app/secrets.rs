//! The stored secrets of webhooks, for a command that runs next to the service.

use std::sync::Arc;

use anyhow::Context as _;

use super::folder::seal_of_server;
use crate::config::Config;
use crate::store::postgres::examine;
use crate::store::webhook_secrets::StoredSecrets;

/// Opens the secrets in the database of a service on this machine.
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
