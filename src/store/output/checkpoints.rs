//! The newest checkpoint of each whole training that has no lasting verdict yet. The bytes are an object.

use std::time::Duration;

use sqlx::{PgConnection, PgPool};

use crate::domain::{AttemptId, JobId, Verdict};

/// A checkpoint from which the next attempt at a job goes on.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Checkpoint {
    /// The attempt that has saved it.
    pub attempt: i32,
    /// The attempt that began the training, from the first step.
    pub since_attempt: i32,
    /// Absolute path of its folder in the container.
    pub path: String,
    /// Key of the object: a tar of absolute paths, compressed with zstd.
    pub key: String,
    /// Size of the object in bytes.
    pub size: i64,
}

/// Returns the checkpoint of a job.
pub async fn of(db: &PgPool, job: JobId) -> sqlx::Result<Option<Checkpoint>> {
    sqlx::query_as("select attempt, since_attempt, path, key, size from checkpoint where job_id = $1")
        .bind(job)
        .fetch_optional(db)
        .await
}

/// Records a checkpoint that a running attempt has saved. Returns the key of the one that it replaces. Returns an error
/// in place of that if the attempt is no longer the job's running one: then nothing was recorded.
pub async fn record(
    db: &PgPool,
    attempt: AttemptId,
    path: &str,
    key: &str,
    size: u64,
) -> sqlx::Result<Result<Option<String>, Stale>> {
    let mut tx = db.begin().await?;
    // The lock keeps the job from getting another attempt meanwhile.
    let is_ours: Option<i32> =
        sqlx::query_scalar("select 1 from job where id = $1 and attempt = $2 and state = 'running' for update")
            .bind(attempt.job)
            .bind(attempt.number)
            .fetch_optional(&mut *tx)
            .await?;
    if is_ours.is_none() {
        return Ok(Err(Stale));
    }
    let old: Option<String> = sqlx::query_scalar("select key from checkpoint where job_id = $1")
        .bind(attempt.job)
        .fetch_optional(&mut *tx)
        .await?;
    sqlx::query(
        "insert into checkpoint (job_id, attempt, since_attempt, path, key, size) values ($1, $2, $2, $3, $4, $5)
         on conflict (job_id) do update set attempt = excluded.attempt, path = excluded.path, key = excluded.key,
             size = excluded.size, made_at = now()",
    )
    .bind(attempt.job)
    .bind(attempt.number)
    .bind(path)
    .bind(key)
    .bind(i64::try_from(size).unwrap_or(i64::MAX))
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(Ok(old.filter(|old| old != key)))
}

/// Records that a running attempt goes on with the training that the attempt `since` has begun. Nothing is recorded of an
/// attempt that is no longer the job's running one.
pub async fn record_resumption(db: &PgPool, attempt: AttemptId, since: i32) -> sqlx::Result<()> {
    sqlx::query(
        "insert into resumed_attempt (job_id, attempt, since_attempt)
         select id, attempt, $3 from job where id = $1 and attempt = $2 and state = 'running' for share
         on conflict do nothing",
    )
    .bind(attempt.job)
    .bind(attempt.number)
    .bind(since)
    .execute(db)
    .await?;
    Ok(())
}

/// Returns the attempt that has begun the training with which this one goes on; `None` for one that has begun anew.
pub async fn resumed_since(db: &PgPool, attempt: AttemptId) -> sqlx::Result<Option<i32>> {
    sqlx::query_scalar("select since_attempt from resumed_attempt where job_id = $1 and attempt = $2")
        .bind(attempt.job)
        .bind(attempt.number)
        .fetch_optional(db)
        .await
}

/// The attempt is no longer the job's running one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stale;

/// Forgets the checkpoint of a job with a verdict after which it begins anew. A job that was canceled or ran out of time
/// goes on from its checkpoint when a person restarts it. The sweep removes the object.
pub(in crate::store) async fn end(tx: &mut PgConnection, job: JobId, verdict: Verdict) -> sqlx::Result<()> {
    if matches!(verdict, Verdict::Canceled | Verdict::TimedOut) {
        return Ok(());
    }
    sqlx::query("delete from checkpoint where job_id = $1").bind(job).execute(tx).await?;
    Ok(())
}

/// Forgets up to `most` checkpoints of jobs that ended longer ago than `keep`. Returns their number.
pub async fn forget(db: &PgPool, keep: Duration, most: i64) -> sqlx::Result<u64> {
    let deleted = sqlx::query(
        "delete from checkpoint where job_id in (
             select job_id from checkpoint join job on job.id = job_id
             where made_at < now() - $1 and finished_at < now() - $1 limit $2)",
    )
    .bind(keep)
    .bind(most)
    .execute(db)
    .await?;
    Ok(deleted.rows_affected())
}
