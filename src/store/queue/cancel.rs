//! Cancels. A job that has not started ends at once; a running one ends when its worker has heard of the cancel.

use sqlx::{PgConnection, PgPool};

use super::rollup;
use crate::domain::{BuildId, JobId};

/// Cancels the running jobs of a runner, as [`cancel`] does. Returns their number.
pub async fn cancel_running_of(db: &PgPool, runner: &str, reason: &str) -> sqlx::Result<u64> {
    let running: Vec<(JobId, BuildId)> =
        sqlx::query_as("select id, build_id from job where state = 'running' and runner = $1 order by id")
            .bind(runner)
            .fetch_all(db)
            .await?;
    let mut canceled = 0;
    for (job, build) in running {
        let mut tx = db.begin().await?;
        canceled += cancel(&mut tx, build, Some(job), reason).await?;
        tx.commit().await?;
    }
    Ok(canceled)
}

/// Cancels the unfinished jobs of a build, as [`cancel`] does. Returns their number.
pub async fn cancel_build(tx: &mut PgConnection, build: BuildId, reason: &str) -> sqlx::Result<u64> {
    cancel(tx, build, None, reason).await
}

/// Cancels an unfinished job of a build, or all of them, with `reason` (by whom and why). A job that has not started is
/// finished at once, a running one when its worker has stopped the container. Returns the number of affected jobs.
pub async fn cancel(tx: &mut PgConnection, build: BuildId, job: Option<JobId>, reason: &str) -> sqlx::Result<u64> {
    let mut concerned = 0;
    // All transactions lock jobs before their build, except the start of a stage: so the waiting jobs come second.
    for waiting in [false, true] {
        if waiting {
            rollup::lock(tx, build).await?;
        }
        let canceled = sqlx::query(
            "update job set
                 cancel_requested = true, reason = $2,
                 state = case when state = 'running' then 'running' else 'finished' end::job_state,
                 verdict = case when state = 'running' then null else 'canceled' end::verdict,
                 finished_at = case when state = 'running' then null else now() end,
                 wait_reason = null
             where build_id = $1 and state <> 'finished' and (state = 'waiting') = $3 and not cancel_requested
                 and ($4::bigint is null or id = $4)",
        )
        .bind(build)
        .bind(reason)
        .bind(waiting)
        .bind(job)
        .execute(&mut *tx)
        .await?;
        concerned += canceled.rows_affected();
    }
    if concerned > 0 {
        rollup::refresh(tx, build).await?;
    }
    Ok(concerned)
}
