//! GitHub's logs of deliveries, as far as they were read, and the deliveries that GitHub was asked to send again.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgPool;

/// Time after which GitHub sends nothing again: a delivery is in its log for three days, or seven on an Enterprise server.
const FORGOTTEN: Duration = Duration::from_secs(8 * 24 * 3600);

/// Returns the time to which a log was read.
pub async fn read_to(db: &PgPool, log: &str) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar("select read_to from delivery_log where log = $1").bind(log).fetch_optional(db).await
}

/// Records that a log was read to this time, and all that was missing is asked for.
pub async fn record_read(db: &PgPool, log: &str, to: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query(
        "insert into delivery_log (log, read_to) values ($1, $2) on conflict (log) do update set read_to = excluded.read_to",
    )
    .bind(log)
    .bind(to)
    .execute(db)
    .await?;
    Ok(())
}

/// Returns those of the deliveries that are neither stored nor asked for.
pub async fn missing(db: &PgPool, ids: &[String]) -> sqlx::Result<HashSet<String>> {
    let missing: Vec<String> = sqlx::query_scalar(
        "select id from unnest($1::text[]) as given (id)
         where not exists (select from delivery where delivery.id = given.id)
             and not exists (select from redelivery where redelivery.id = given.id)",
    )
    .bind(ids)
    .fetch_all(db)
    .await?;
    Ok(missing.into_iter().collect())
}

/// Records that GitHub was asked to send a delivery again.
pub async fn record(db: &PgPool, id: &str) -> sqlx::Result<()> {
    sqlx::query("insert into redelivery (id) values ($1) on conflict do nothing").bind(id).execute(db).await?;
    Ok(())
}

/// Forgets what GitHub has forgotten.
pub async fn forget_old(db: &PgPool) -> sqlx::Result<()> {
    sqlx::query("delete from redelivery where asked_at < now() - $1").bind(FORGOTTEN).execute(db).await?;
    sqlx::query("delete from delivery_log where read_to < now() - $1").bind(FORGOTTEN).execute(db).await?;
    Ok(())
}
