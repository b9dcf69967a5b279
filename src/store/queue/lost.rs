//! Attempts that end without a verdict, because their worker was lost or they were preempted. Their job is queued
//! again, if it may run again.
//!
//! Each such attempt leaves a row that records its end, and its log stays readable.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};

use super::{rollup, turn};
use crate::domain::{AttemptId, BuildId, JobId, RepoId, pg_text};
use crate::store::output::logs;
use crate::store::runner::gpus;

/// Number of claims since the last restart after which the loss of a worker makes the job errored, so that a job that kills its host does not
/// repeat forever. Preempted attempts do not count.
pub const MAX_ATTEMPTS: i32 = 3;

/// End of an attempt that has no verdict.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct LostAttempt {
    /// Number of the attempt, from 1.
    pub attempt: i32,
    /// Runner of the attempt.
    pub runner: Option<String>,
    /// Time of the claim.
    pub started_at: Option<DateTime<Utc>>,
    /// Time at which the attempt was given up.
    pub ended_at: DateTime<Utc>,
    /// Reason for its end, in words.
    pub reason: String,
    /// Number of bytes of its log that are stored.
    pub log_length: i64,
}

/// Lists the ends of a job's earlier attempts, in their order.
pub async fn lost_attempts(db: &PgPool, job: JobId) -> sqlx::Result<Vec<LostAttempt>> {
    sqlx::query_as(
        "select attempt, runner, started_at, ended_at, reason, log_length from lost_attempt where job_id = $1
         order by attempt",
    )
    .bind(job)
    .fetch_all(db)
    .await
}

/// Records why no other attempt may follow this one, before its script begins; `None` means that one may follow.
/// Returns false when the lease is lost: then the script must not begin.
pub async fn run_only_once(db: &PgPool, attempt: AttemptId, why: Option<&str>) -> sqlx::Result<bool> {
    let noted = sqlx::query("update job set only_once = $3 where id = $1 and attempt = $2 and state = 'running'")
        .bind(attempt.job)
        .bind(attempt.number)
        .bind(why)
        .execute(db)
        .await?;
    Ok(noted.rows_affected() == 1)
}

/// Gives an attempt up, for `reason`: the job returns to the queue after `delay`, or is finished as errored when no
/// further attempt is allowed. Returns false when the attempt is no longer the job's running one.
pub async fn requeue(db: &PgPool, attempt: AttemptId, delay: Duration, reason: &str) -> sqlx::Result<bool> {
    let mut tx = db.begin().await?;
    let given_back =
        give_back(&mut tx, attempt, &GiveBack { delay, reason, only_if_until: None, is_preemption: false }).await?;
    tx.commit().await?;
    Ok(given_back)
}

/// An attempt's right to its job, as it is stored in the database.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Lease {
    #[sqlx(flatten)]
    pub attempt: AttemptId,
    /// End of the lease, by the database's clock.
    #[sqlx(rename = "lease_until")]
    pub until: DateTime<Utc>,
    /// True when that time has passed, or when it lies further ahead than any lease does: then the clock was set back.
    pub has_run_out: bool,
}

/// Lists the leases of all running jobs. No lease is given for longer than `longest`.
pub async fn leases(db: &PgPool, longest: Duration) -> sqlx::Result<Vec<Lease>> {
    sqlx::query_as(
        "select id as job, attempt as number, lease_until, lease_until < now() or lease_until > now() + $1 as has_run_out
         from job where state = 'running' order by id",
    )
    .bind(longest)
    .fetch_all(db)
    .await
}

/// Requeues a job whose lease has run out, unless the lease was extended since it was read. Returns false when there
/// was nothing to do.
pub async fn rescue(db: &PgPool, lease: &Lease) -> sqlx::Result<bool> {
    let mut tx = db.begin().await?;
    let reason = "its worker was lost";
    let how = GiveBack { delay: Duration::ZERO, reason, only_if_until: Some(lease.until), is_preemption: false };
    let rescued = give_back(&mut tx, lease.attempt, &how).await?;
    tx.commit().await?;
    Ok(rescued)
}

/// The last bytes of an attempt's log.
#[derive(Debug, Clone, Copy)]
pub struct LogEnd<'a> {
    pub offset: i64,
    pub tail: &'a [u8],
}

/// Ends an attempt whose container was stopped because another job gets its GPUs: writes its last bytes of log, and
/// queues the job again. Returns false when the attempt is no longer the job's running one.
///
/// # Errors
/// Fails when Postgres does not answer; then nothing was written, and the caller may retry.
pub async fn preempt(db: &PgPool, attempt: AttemptId, end: LogEnd<'_>, reason: &str) -> anyhow::Result<bool> {
    let mut tx = db.begin().await?;
    if !logs::append(&mut tx, attempt, end.offset, end.tail, 0).await? {
        return Ok(false);
    }
    let how = GiveBack { delay: Duration::ZERO, reason, only_if_until: None, is_preemption: true };
    let given = give_back(&mut tx, attempt, &how).await?;
    tx.commit().await?;
    Ok(given)
}

struct GiveBack<'a> {
    delay: Duration,
    reason: &'a str,
    /// Gives up the attempt only if its lease still ends at this time.
    only_if_until: Option<DateTime<Utc>>,
    is_preemption: bool,
}

async fn give_back(tx: &mut PgConnection, attempt: AttemptId, how: &GiveBack<'_>) -> sqlx::Result<bool> {
    // A canceled job does not run again. Its worker is gone, so the cancel takes effect here.
    let given_back: Option<(BuildId, RepoId, bool)> = sqlx::query_as(
        "with verdict_of as (
             select id, runner, started_at, log_length, case
                 when cancel_requested then 'canceled'
                 when $7 then null
                 when only_once is not null or attempt - earlier_attempts - preemptions >= $3 then 'errored' end::verdict as it
             from job where id = $1 for update
         ), given as (
             update job set
                 state = case when it is null then 'queued' else 'finished' end::job_state,
                 verdict = it,
                 finished_at = case when it is null then null else now() end,
                 reason = case
                     when it = 'errored' then $5 || case when only_once is null
                         then ' (attempt ' || attempt || ', the last there may be)' else ': ' || only_once end
                     when it = 'canceled' then reason end,
                 preemptions = preemptions + $7::int,
                 not_before = now() + $4, runner = null, lease_until = null, preempted_by = null
             from verdict_of
             where job.id = verdict_of.id and attempt = $2 and state = 'running' and ($6::timestamptz is null or lease_until = $6)
             returning job.id, build_id, repo_id, has_requirements
         ), noted as (
             insert into lost_attempt (job_id, attempt, runner, started_at, reason, log_length)
             select given.id, $2, runner, started_at, $5, log_length from given join verdict_of on verdict_of.id = given.id
         )
         select build_id, repo_id, has_requirements from given",
    )
    .bind(attempt.job)
    .bind(attempt.number)
    .bind(MAX_ATTEMPTS)
    .bind(how.delay)
    .bind(pg_text(how.reason))
    .bind(how.only_if_until)
    .bind(how.is_preemption)
    .fetch_optional(&mut *tx)
    .await?;
    if let Some((build, repo, has_requirements)) = given_back {
        if has_requirements {
            gpus::release(tx, attempt.job).await?;
        }
        rollup::refresh(tx, build).await?;
        turn::record_end(tx, repo).await?;
    }
    Ok(given_back.is_some())
}
