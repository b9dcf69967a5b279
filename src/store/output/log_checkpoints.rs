//! States of a log's readers, so that the next reader does not start at the log's first byte. They can be computed again
//! at any time, so they are written by readers, and a missing one costs only time.

use sqlx::PgPool;

use crate::domain::AttemptId;

/// States of the readers at the end of a line.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct LogCheckpoint {
    /// Offset of the next line in the log.
    pub place: i64,
    /// Token of the view.
    pub view: String,
    /// Reader of losses, as JSON.
    pub losses: String,
}

/// Returns the last checkpoint of an attempt's log that is at `end` or before it.
pub async fn last_before(db: &PgPool, attempt: AttemptId, end: i64) -> sqlx::Result<Option<LogCheckpoint>> {
    sqlx::query_as(
        "select place, view, losses from log_checkpoint
         where job_id = $1 and attempt = $2 and place <= $3 order by place desc limit 1",
    )
    .bind(attempt.job)
    .bind(attempt.number)
    .bind(end)
    .fetch_optional(db)
    .await
}

/// Stores a checkpoint, unless another reader has stored it. The log before it never changes.
pub async fn put(db: &PgPool, attempt: AttemptId, checkpoint: &LogCheckpoint) -> sqlx::Result<()> {
    sqlx::query(
        "insert into log_checkpoint (job_id, attempt, place, view, losses)
         select id, $2, $3, $4, $5 from job where id = $1
         on conflict do nothing",
    )
    .bind(attempt.job)
    .bind(attempt.number)
    .bind(checkpoint.place)
    .bind(&checkpoint.view)
    .bind(&checkpoint.losses)
    .execute(db)
    .await?;
    Ok(())
}
