//! Runners, as their workers report them.

use sqlx::PgPool;

/// A runner as it is configured.
#[derive(Debug, Clone, Copy)]
pub struct Runner<'a> {
    pub name: &'a str,
    /// Address of its Docker engine.
    pub endpoint: &'a str,
    /// Number of jobs that it runs at once.
    pub slots: usize,
    /// Labels, which jobs may require.
    pub labels: &'a [String],
    /// Machine of the process that serves it.
    pub host: &'a str,
}

/// Records that a runner exists and is alive.
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
