//! Attempts that end without a verdict: what ran them was lost, or they gave way. Their job begins again, if it may.
//!
//! Each leaves a row of what became of it, and its log stays to be read.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};

use super::rollup;
use crate::domain::{AttemptId, BuildId, JobId, pg_text};
use crate::store::output::logs;
use crate::store::runner::gpus;

/// How often a job is claimed before a lost worker makes it errored, so that a job that kills its host does not go
/// round for ever. Attempts that gave way do not count.
pub const MAX_ATTEMPTS: i32 = 3;

/// What became of an attempt that ended without a verdict.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct LostAttempt {
    /// Its number, from 1.
    pub attempt: i32,
    /// The runner that it was on.
    pub runner: Option<String>,
    /// When it was claimed.
    pub started_at: Option<DateTime<Utc>>,
    /// When it was given up.
    pub ended_at: DateTime<Utc>,
    /// What became of it, in words.
    pub reason: String,
    /// Bytes of its log that are stored.
    pub log_length: i64,
}

/// What became of a job's earlier attempts, in their order.
///
/// # Errors
/// When Postgres cannot be asked.
pub async fn lost_attempts(db: &PgPool, job: JobId) -> sqlx::Result<Vec<LostAttempt>> {
    sqlx::query_as(
        "select attempt, runner, started_at, ended_at, reason, log_length from lost_attempt where job_id = $1
         order by attempt",
    )
    .bind(job)
    .fetch_all(db)
    .await
}

/// Notes why no other attempt must follow this one, before its script begins; none when one may. False when the lease is
/// lost: then the script must not begin.
///
/// # Errors
/// When Postgres cannot be asked.
pub async fn run_only_once(db: &PgPool, attempt: AttemptId, why: Option<&str>) -> sqlx::Result<bool> {
    let noted = sqlx::query("update job set only_once = $3 where id = $1 and attempt = $2 and state = 'running'")
        .bind(attempt.job)
        .bind(attempt.number)
        .bind(why)
        .execute(db)
        .await?;
    Ok(noted.rows_affected() == 1)
}

/// Gives an attempt back, for `reason`: to the queue after `delay`, or, when it was the last that there may be, finished
/// as errored. False when the attempt is not the job's running one any more.
///
/// # Errors
/// When Postgres cannot be asked.
pub async fn requeue(db: &PgPool, attempt: AttemptId, delay: Duration, reason: &str) -> sqlx::Result<bool> {
    let mut tx = db.begin().await?;
    let given_back =
        give_back(&mut tx, attempt, &GiveBack { delay, reason, only_if_until: None, is_preemption: false }).await?;
    tx.commit().await?;
    Ok(given_back)
}

/// An attempt's right to its job, as it stands in the database.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Lease {
    #[sqlx(flatten)]
    pub attempt: AttemptId,
    /// Until when it holds, by the database's clock.
    #[sqlx(rename = "lease_until")]
    pub until: DateTime<Utc>,
    /// Whether that is over, or lies further ahead than any lease is given for: then the clock has gone back.
    pub has_run_out: bool,
}

/// The leases of all running jobs, of which none is given for longer than `longest`.
///
/// # Errors
/// When Postgres cannot be asked.
pub async fn leases(db: &PgPool, longest: Duration) -> sqlx::Result<Vec<Lease>> {
    sqlx::query_as(
        "select id as job, attempt as number, lease_until, lease_until < now() or lease_until > now() + $1 as has_run_out
         from job where state = 'running' order by id",
    )
    .bind(longest)
    .fetch_all(db)
    .await
}

/// Brings back a job whose lease has run out, unless the lease was extended since it was looked at. False when nothing was
/// to be done.
///
/// # Errors
/// When Postgres cannot be asked.
pub async fn rescue(db: &PgPool, lease: &Lease) -> sqlx::Result<bool> {
    let mut tx = db.begin().await?;
    let reason = "its worker was lost";
    let how = GiveBack { delay: Duration::ZERO, reason, only_if_until: Some(lease.until), is_preemption: false };
    let rescued = give_back(&mut tx, lease.attempt, &how).await?;
    tx.commit().await?;
    Ok(rescued)
}

/// Ends an attempt whose container was stopped so that another job gets its GPUs: its last bytes of log at `offset`, and
/// the job is queued again. False when the attempt is not the job's running one any more.
///
/// # Errors
/// When Postgres cannot be asked; then nothing was written, and it may be tried again.
pub async fn preempt(
    db: &PgPool,
    attempt: AttemptId,
    (offset, tail): (i64, &[u8]),
    reason: &str,
) -> anyhow::Result<bool> {
    let mut tx = db.begin().await?;
    if !logs::append(&mut tx, attempt, offset, tail, 0).await? {
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
    /// Only if the lease still ends then.
    only_if_until: Option<DateTime<Utc>>,
    is_preemption: bool,
}

async fn give_back(tx: &mut PgConnection, attempt: AttemptId, how: &GiveBack<'_>) -> sqlx::Result<bool> {
    // A canceled job does not run again: its worker is gone, so the cancel is carried out here.
    let given_back: Option<(BuildId, bool)> = sqlx::query_as(
        "with verdict_of as (
             select id, runner, started_at, log_length, case
                 when cancel_requested then 'canceled'
                 when $7 then null
                 when only_once is not null or attempt - preemptions >= $3 then 'errored' end::verdict as it
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
             returning job.id, build_id, has_requirements
         ), noted as (
             insert into lost_attempt (job_id, attempt, runner, started_at, reason, log_length)
             select given.id, $2, runner, started_at, $5, log_length from given join verdict_of on verdict_of.id = given.id
         )
         select build_id, has_requirements from given",
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
    if let Some((build, has_requirements)) = given_back {
        if has_requirements {
            gpus::release(tx, attempt.job).await?;
        }
        rollup::refresh(tx, build).await?;
    }
    Ok(given_back.is_some())
}
