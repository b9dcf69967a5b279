//! The service's database, for commands that work on it.

use anyhow::{Context as _, ensure};
use sqlx::{Connection as _, PgConnection, PgPool};

use crate::config::Config;
use crate::store::postgres::examine::{self, Schema};

/// Connects to the service's database, which must have the schema of this version.
pub(super) async fn connect(config: &Config) -> anyhow::Result<PgPool> {
    let options = match config.database.options()? {
        Some(options) => options,
        None => examine::private(&config.server.data_dir).await?.running.with_context(|| {
            format!(
                "the private Postgres in {} does not run: start trainyard serve, then run this command again",
                config.server.data_dir.display()
            )
        })?,
    };
    let mut connection = PgConnection::connect_with(&options).await.context("cannot connect to Postgres")?;
    let schema = examine::schema(&mut connection).await?;
    ensure!(schema == Schema::Current, "the database has the schema of another version: use that version of trainyard");
    connection.close().await?;
    Ok(config.database.pools(options).steps)
}
