//! Runners, as their workers tell of them.

use sqlx::PgPool;

/// A runner, as its configuration says.
#[derive(Debug, Clone, Copy)]
pub struct Runner<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its Docker engine.
    pub endpoint: &'a str,
    /// How many jobs it runs at once.
    pub slots: usize,
    /// What it has beside a slot.
    pub labels: &'a [String],
    /// The machine of the process that serves it.
    pub host: &'a str,
}

/// Tells that a runner is there.
///
/// # Errors
/// When Postgres cannot be asked.
pub async fn upsert(db: &PgPool, runner: &Runner<'_>) -> sqlx::Result<()> {
    sqlx::query(
        "insert into runner (name, endpoint, slots, labels, host) values ($1, $2, $3, $4, $5)
         on conflict (name) do update set endpoint = excluded.endpoint, slots = excluded.slots,
             labels = excluded.labels, host = excluded.host, seen_at = now()",
    )
    .bind(runner.name)
    .bind(runner.endpoint)
    .bind(i32::try_from(runner.slots).unwrap_or(i32::MAX))
    .bind(runner.labels)
    .bind(runner.host)
    .execute(db)
    .await?;
    Ok(())
}
