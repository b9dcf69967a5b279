//! The secrets that the service has stored under its seal, for a command that runs next to it.

use std::sync::Arc;

use anyhow::Context as _;
use sqlx::PgPool;

use super::folder::seal_of_server;
use super::github::keys;
use crate::config::Config;
use crate::github::Client;
use crate::registration::Stored;
use crate::store::postgres::examine;
use crate::store::sealed::variables::Variables;

/// Opens the credentials in the database of a service on this machine.
///
/// # Errors
/// Fails when the service is not running, and when its folder or its database cannot be read.
pub async fn stored(config: &Config) -> anyhow::Result<Stored> {
    let data = &config.server.data_dir;
    let options = match config.database.options()? {
        Some(options) => options,
        None => examine::private(data).await?.running.with_context(|| {
            format!("the private Postgres in {} is not running: start trainyard serve first", data.display())
        })?,
    };
    let seal = Arc::new(seal_of_server(data)?);
    let db = config.database.pools(options).steps;
    let client = Client::new(&config.github)?.with_forges(&config.forge)?;
    Ok(Stored::new(&db, &seal, client))
}

/// Returns a client of GitHub with the configured App, or with the stored one if that can be read.
///
/// # Errors
/// Fails when the configuration cannot be used.
pub async fn github_client(config: &Config) -> anyhow::Result<Client> {
    let client = Client::new(&config.github)?.with_forges(&config.forge)?;
    if !client.has_app()
        && let Ok(stored) = stored(config).await
        && let Ok(Some(app)) = stored.app.read().await
    {
        client.set_app(keys(&app)?);
    }
    Ok(client)
}

/// Returns the variables of repositories in this database, which is that of a service on this machine.
///
/// # Errors
/// Fails when the service's folder cannot be read.
pub fn variables(config: &Config, db: PgPool) -> anyhow::Result<Variables> {
    Ok(Variables::new(db, Arc::new(seal_of_server(&config.server.data_dir)?)))
}
