//! The database at the start: it is migrated, and what a dead process has left in it is freed.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection, PgPool};
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::store::{self, MIGRATOR, deliveries, wishes};

/// Interval at which an unreachable Postgres is tried again.
pub(super) const DATABASE_RETRY: Duration = Duration::from_secs(2);

/// Migrates as soon as Postgres answers. Returns the installation's id, or `None` when the shutdown came first.
pub(super) async fn database_is_ready(db: &PgPool, shutdown: &CancellationToken) -> anyhow::Result<Option<String>> {
    loop {
        match prepare_database(db).await {
            Ok(instance) => return Ok(Some(instance)),
            Err(Unprepared::Away(error)) => error!("Postgres is not reachable, trying again: {error:#}"),
            Err(Unprepared::Unusable(error)) => return Err(error),
        }
        tokio::select! {
            () = tokio::time::sleep(DATABASE_RETRY) => {}
            () = shutdown.cancelled() => return Ok(None),
        }
    }
}

/// Migrates if Postgres answers at once, so that the database is ready before the first webhook can come. Otherwise the web
/// server starts without it and reports that, while a task waits for it.
pub(super) async fn prepare_if_reachable(db: &PgPool) -> anyhow::Result<()> {
    match prepare_database(db).await {
        Ok(_) => {}
        Err(Unprepared::Away(error)) => error!("Postgres is not reachable, trying again: {error:#}"),
        Err(Unprepared::Unusable(error)) => return Err(error),
    }
    Ok(())
}

/// Reason why the database cannot be used.
enum Unprepared {
    /// Postgres does not answer; a retry helps.
    Away(anyhow::Error),
    /// The schema is of a newer version.
    Unusable(anyhow::Error),
}

/// Migrates the database. Returns the installation's id.
async fn prepare_database(db: &PgPool) -> Result<String, Unprepared> {
    use sqlx::migrate::MigrateError;
    // Not through the pool: that would retry for a while and then lose the reason.
    let connection = PgConnection::connect_with(&db.connect_options()).await;
    connection.map_err(|error| Unprepared::Away(error.into()))?;
    MIGRATOR.run(db).await.map_err(|error| match error {
        MigrateError::VersionMissing(version) => Unprepared::Unusable(anyhow::anyhow!(
            "the database was used by a newer Trainyard (migration {version}): install that version or a newer one"
        )),
        other => Unprepared::Away(anyhow::Error::from(other).context("migrating the database")),
    })?;
    let instance = store::instance(db).await.map_err(|error| Unprepared::Away(error.into()))?;
    deliveries::free_taken(db).await.map_err(|error| Unprepared::Away(error.into()))?;
    wishes::all_due(db).await.map_err(|error| Unprepared::Away(error.into()))?;
    Ok(instance)
}
