//! Logs that are objects, and the places of their parts in them.
//!
//! A log is in `log_chunk` while its job runs, and is moved into an object afterwards. The transaction that names the
//! object deletes the chunks, so a reader always finds exactly one of the two.

use std::time::Duration;

use sqlx::{PgConnection, PgPool, Postgres, Transaction};

use crate::domain::{AttemptId, JobId};

/// The log of an attempt that is an object, or was one.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct LogObject {
    /// Key of the object; `None` once it was removed.
    pub key: Option<String>,
    /// Length of the log, in bytes.
    pub length: i64,
    /// Size of the object, in bytes.
    pub size: i64,
    /// Bytes of the log in each frame except the last.
    pub frame: i32,
    /// Offset in the object at which each frame begins.
    pub frames: Vec<i64>,
    /// Reason for the removal, in words.
    pub removed: Option<String>,
}

/// Finds the object of an attempt's log. Returns `None` while the log is in rows.
pub async fn find(db: &PgPool, attempt: AttemptId) -> sqlx::Result<Option<LogObject>> {
    sqlx::query_as(
        "select key, length, size, frame, frames, removed from log_object where job_id = $1 and attempt = $2",
    )
    .bind(attempt.job)
    .bind(attempt.number)
    .fetch_optional(db)
    .await
}

/// Returns the reason why a log was removed, in words, or `None` if it was not.
pub async fn removed(db: &PgPool, attempt: AttemptId) -> sqlx::Result<Option<String>> {
    let row: Option<Option<String>> =
        sqlx::query_scalar("select removed from log_object where job_id = $1 and attempt = $2")
            .bind(attempt.job)
            .bind(attempt.number)
            .fetch_optional(db)
            .await?;
    Ok(row.flatten())
}

/// Returns the job that ended first among those that ended at least `ago` and whose logs are still in rows. Skips the
/// jobs in `but`.
pub async fn next_due(db: &PgPool, ago: Duration, but: &[JobId]) -> sqlx::Result<Option<JobId>> {
    sqlx::query_scalar(
        "select id from job
         where state = 'finished' and archived_attempt < attempt and finished_at <= now() - $1 and id <> all($2)
         order by finished_at limit 1",
    )
    .bind(ago)
    .bind(but)
    .fetch_optional(db)
    .await
}

/// Logs of a job that are being moved.
#[derive(Debug)]
pub struct Move {
    pub tx: Transaction<'static, Postgres>,
    /// Attempts that have logs to move, each with its length.
    pub attempts: Vec<(i32, i64)>,
    /// Number of the job's last attempt.
    pub last: i32,
}

/// Begins to move the logs of a job. Only one process can do so at a time. Returns `None` when another process is moving
/// them, or when they are moved already.
///
/// The transaction holds a lock and nothing else until [`moved`] is called, so it may take as long as the move does.
pub async fn begin(db: &PgPool, job: JobId) -> sqlx::Result<Option<Move>> {
    let mut tx = db.begin().await?;
    let is_ours: bool =
        sqlx::query_scalar("select pg_try_advisory_xact_lock(hashtextextended('trainyard.log ' || $1, 0))")
            .bind(job)
            .fetch_one(&mut *tx)
            .await?;
    if !is_ours {
        return Ok(None);
    }
    let last: Option<i32> = sqlx::query_scalar(
        "select attempt from job where id = $1 and state = 'finished' and archived_attempt < attempt",
    )
    .bind(job)
    .fetch_optional(&mut *tx)
    .await?;
    let Some(last) = last else { return Ok(None) };
    // The job may be restarted meanwhile, and its next attempt writes another log.
    let attempts = sqlx::query_as(
        "select attempt, sum(length)::bigint from log_chunk where job_id = $1 and attempt <= $2
         group by attempt order by attempt",
    )
    .bind(job)
    .bind(last)
    .fetch_all(&mut *tx)
    .await?;
    Ok(Some(Move { tx, attempts, last }))
}

/// Names the object of an attempt's log and deletes its chunks. Returns false when the log is not as long as the object
/// says.
pub async fn moved(tx: &mut PgConnection, attempt: AttemptId, object: &LogObject) -> sqlx::Result<bool> {
    let deleted: i64 = sqlx::query_scalar(
        "with gone as (delete from log_chunk where job_id = $1 and attempt = $2 returning length)
         select coalesce(sum(length), 0)::bigint from gone",
    )
    .bind(attempt.job)
    .bind(attempt.number)
    .fetch_one(&mut *tx)
    .await?;
    sqlx::query(
        "insert into log_object (job_id, attempt, key, length, size, frame, frames, repo_id)
         select $1, $2, $3, $4, $5, $6, $7, repo_id from job where id = $1",
    )
    .bind(attempt.job)
    .bind(attempt.number)
    .bind(&object.key)
    .bind(object.length)
    .bind(object.size)
    .bind(object.frame)
    .bind(&object.frames)
    .execute(tx)
    .await?;
    Ok(deleted == object.length)
}

/// Records that the logs of a job are moved, up to the attempt `last`.
pub async fn all_moved(tx: &mut PgConnection, job: JobId, last: i32) -> sqlx::Result<()> {
    sqlx::query("update job set archived_attempt = $2 where id = $1").bind(job).bind(last).execute(tx).await?;
    Ok(())
}
