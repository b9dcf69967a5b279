//! Webhooks as they came, before anything was made of them.

use std::time::Duration;

use sqlx::{PgConnection, PgPool};

use crate::domain::DeliveryId;

/// A stored delivery that waits for intake.
#[derive(Debug, sqlx::FromRow)]
pub struct Delivery {
    /// GitHub's id of it.
    pub id: DeliveryId,
    /// The event's name (header `X-GitHub-Event`).
    pub event: String,
    /// The body, byte for byte as it was signed.
    pub body: Vec<u8>,
    /// How often intake has tried it.
    pub tries: i32,
}

/// Whether a delivery is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// First seen, or seen and not yet processed: intake will look at it now.
    Open,
    /// Processed before: nothing changes.
    Done,
}

/// Stores a delivery. When this returns it is durable.
///
/// A redelivery of a processed one changes nothing; one that still waits for its next try is tried at once.
///
/// # Errors
/// When Postgres refuses or cannot be reached; then nothing was stored.
pub async fn put(db: &PgPool, id: &DeliveryId, event: &str, body: &[u8]) -> sqlx::Result<Put> {
    let row: Option<i32> = sqlx::query_scalar(
        "insert into delivery (id, event, body) values ($1, $2, $3)
         on conflict (id) do update set not_before = now() where delivery.done_at is null
         returning 1",
    )
    .bind(id)
    .bind(event)
    .bind(body)
    .fetch_optional(db)
    .await?;
    Ok(if row.is_some() { Put::Open } else { Put::Done })
}

/// Takes the oldest open delivery that nobody else holds; it is held until the transaction ends.
///
/// # Errors
/// When Postgres cannot be asked.
pub async fn hold(tx: &mut PgConnection) -> sqlx::Result<Option<Delivery>> {
    sqlx::query_as(
        "select id, event, body, tries from delivery where done_at is null and not_before <= now()
         order by not_before limit 1 for update skip locked",
    )
    .fetch_optional(tx)
    .await
}

/// Counts a try of a delivery that is held, and puts its next one `patience` away: the try goes on after the
/// transaction, and a crash in it only delays the delivery.
///
/// # Errors
/// When Postgres cannot be asked.
pub async fn count_try(tx: &mut PgConnection, delivery: &mut Delivery, patience: Duration) -> sqlx::Result<()> {
    sqlx::query("update delivery set tries = tries + 1, not_before = now() + $2 where id = $1")
        .bind(&delivery.id)
        .bind(patience)
        .execute(tx)
        .await?;
    delivery.tries += 1;
    Ok(())
}

/// Makes every delivery that a dead process was working on free at once. Called when no other process takes any.
///
/// # Errors
/// When Postgres cannot be asked.
pub async fn free_taken(db: &PgPool) -> sqlx::Result<u64> {
    let freed = sqlx::query("update delivery set not_before = now() where done_at is null and not_before > now()")
        .execute(db)
        .await?;
    Ok(freed.rows_affected())
}

/// Records what came of a delivery; false when it was recorded before.
///
/// # Errors
/// When Postgres cannot be asked.
pub async fn done(tx: &mut PgConnection, id: &DeliveryId, outcome: &str) -> sqlx::Result<bool> {
    let changed = sqlx::query("update delivery set done_at = now(), outcome = $2 where id = $1 and done_at is null")
        .bind(id)
        .bind(outcome)
        .execute(tx)
        .await?;
    Ok(changed.rows_affected() == 1)
}

/// Puts a delivery's next try `delay` away.
///
/// # Errors
/// When Postgres cannot be asked.
pub async fn later(db: &PgPool, id: &DeliveryId, delay: Duration) -> sqlx::Result<()> {
    sqlx::query("update delivery set not_before = now() + $2 where id = $1 and done_at is null")
        .bind(id)
        .bind(delay)
        .execute(db)
        .await?;
    Ok(())
}
