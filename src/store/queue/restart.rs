//! Restarts: jobs that have ended run again, in the same build. The verdict of the run before stays in a row of its own,
//! with who asked for the restart, and its log and its artifacts stay under the number of its attempt.

use std::fmt;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};

use super::rollup;
use crate::domain::{AttemptId, BuildId, JobId, JobState, Verdict};

/// Number of times that a job may be restarted. Each restart leaves a row and a log.
pub const MAX_RESTARTS: i64 = 100;

/// Reason why nothing was restarted. Its `Display` is a sentence for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartError {
    /// The build has no such job, or no job at all.
    NoJob,
    /// A job that was to be restarted has not ended.
    Unfinished { number: i32 },
    /// A job of an earlier stage has not passed, so that this job would not begin in a new build either.
    EarlierStage { number: i32 },
    /// A job of a later stage has begun, which relies on this one.
    LaterStage { number: i32 },
    /// The job was restarted [`MAX_RESTARTS`] times.
    TooOften { number: i32 },
}

impl fmt::Display for RestartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoJob => f.write_str("There is no job to restart: nothing of this build has run."),
            Self::Unfinished { number } => {
                write!(f, "Job {number} has not ended. Cancel it first, or wait for its end.")
            }
            Self::EarlierStage { number } => {
                write!(f, "Job {number} of an earlier stage has not passed. Restart that job or the build.")
            }
            Self::LaterStage { number } => {
                write!(f, "Job {number} of a later stage has begun. Cancel it first, or wait for its end.")
            }
            Self::TooOften { number } => {
                write!(f, "Job {number} was restarted {MAX_RESTARTS} times, which is the most.")
            }
        }
    }
}

#[derive(sqlx::FromRow)]
struct Candidate {
    id: JobId,
    number: i32,
    stage_order: i32,
    state: JobState,
    verdict: Option<Verdict>,
    allow_failure: bool,
    restarts: i64,
}

/// Restarts a job of a build that has ended, or all jobs of a build all of which have. The jobs of later stages wait for
/// those of earlier ones, as in a new build. Returns the number of the restarted jobs.
///
/// A job keeps its number of attempts. Its reports and its loss are deleted, since they are of the latest attempt only.
pub async fn restart(
    tx: &mut PgConnection,
    build: BuildId,
    job: Option<JobId>,
    who: &str,
) -> sqlx::Result<Result<u64, RestartError>> {
    // Other transactions lock jobs before their build. This one changes only jobs whose end is committed, and nobody holds
    // the lock of such a job while waiting for the build's.
    rollup::lock(tx, build).await?;
    let jobs: Vec<Candidate> = sqlx::query_as(
        "select id, number, stage_order, state, verdict, allow_failure,
             (select count(*) from restart where job_id = job.id) as restarts
         from job where build_id = $1 order by number",
    )
    .bind(build)
    .fetch_all(&mut *tx)
    .await?;
    if let Some(refused) = refusal(&jobs, job) {
        return Ok(Err(refused));
    }
    let restarted = queue_again(tx, build, job, who).await?;
    if jobs.iter().all(|job| job.state == JobState::Finished) {
        // The build's time counts from its new beginning.
        sqlx::query("update build set started_at = null, state = 'queued', finished_at = null where id = $1")
            .bind(build)
            .execute(&mut *tx)
            .await?;
    }
    rollup::refresh(tx, build).await?;
    Ok(Ok(restarted))
}

fn refusal(jobs: &[Candidate], only: Option<JobId>) -> Option<RestartError> {
    let is_meant = |job: &&Candidate| only.is_none_or(|only| only == job.id);
    let meant: Vec<&Candidate> = jobs.iter().filter(is_meant).collect();
    if meant.is_empty() {
        return Some(RestartError::NoJob);
    }
    let find = |is_it: &dyn Fn(&Candidate) -> bool| meant.iter().find(|job| is_it(job)).map(|job| job.number);
    if let Some(number) = find(&|job| job.state != JobState::Finished) {
        return Some(RestartError::Unfinished { number });
    }
    if let Some(number) = find(&|job| job.restarts >= MAX_RESTARTS) {
        return Some(RestartError::TooOften { number });
    }
    let stage = only.and_then(|_| meant.first())?.stage_order;
    let stops = |job: &&Candidate| job.verdict.is_some_and(|verdict| verdict != Verdict::Passed) && !job.allow_failure;
    if let Some(job) = jobs.iter().filter(|job| job.stage_order < stage).find(stops) {
        return Some(RestartError::EarlierStage { number: job.number });
    }
    let has_begun = |job: &&Candidate| matches!(job.state, JobState::Queued | JobState::Running);
    let later = jobs.iter().filter(|job| job.stage_order > stage).find(has_begun)?;
    Some(RestartError::LaterStage { number: later.number })
}

/// Restarts the jobs of a build that have ended and have not passed, in the order of their stages. Returns their number.
pub async fn restart_failed(
    tx: &mut PgConnection,
    build: BuildId,
    who: &str,
) -> sqlx::Result<Result<u64, RestartError>> {
    rollup::lock(tx, build).await?;
    let failed: Vec<JobId> = sqlx::query_scalar(
        "select id from job where build_id = $1 and state = 'finished' and verdict <> 'passed'
         order by stage_order, number",
    )
    .bind(build)
    .fetch_all(&mut *tx)
    .await?;
    let mut restarted = 0;
    for job in failed {
        match restart(tx, build, Some(job), who).await? {
            Ok(count) => restarted += count,
            Err(refused) => return Ok(Err(refused)),
        }
    }
    Ok(Ok(restarted))
}

/// Records the ends of finished jobs, and queues the jobs again. Those of a build that nobody has approved wait again.
async fn queue_again(tx: &mut PgConnection, build: BuildId, job: Option<JobId>, who: &str) -> sqlx::Result<u64> {
    let restarted = sqlx::query(
        "with ended as (
             select * from job where build_id = $1 and ($2::bigint is null or id = $2) and state = 'finished' for update
         ), noted as (
             insert into restart (job_id, requested_by, attempt, verdict, reason, exit_status, runner, started_at,
                 finished_at, log_length)
             select id, $3, case when attempt > earlier_attempts then attempt end, verdict, reason, exit_status, runner,
                 started_at, finished_at, case when attempt > earlier_attempts then log_length else 0 end
             from ended
         ), forgotten as (
             delete from report using ended where job_id = ended.id
         ), unplotted as (
             delete from series using ended where job_id = ended.id
         )
         update job set
             state = case when exists (
                 select from job earlier
                 where earlier.build_id = $1 and earlier.stage_order < job.stage_order
                     and ($2 is null or earlier.state <> 'finished')
             ) or exists (select from build where id = $1 and needs_approval and approved_at is null) then 'waiting' else 'queued' end::job_state,
             verdict = null, reason = null, exit_status = null, stop = null, cancel_requested = false, runner = null, warning = null,
             created_at = now(), not_before = now(), started_at = null, finished_at = null,
             earlier_attempts = job.attempt, preemptions = 0
         from ended where job.id = ended.id",
    )
    .bind(build)
    .bind(job)
    .bind(who)
    .execute(tx)
    .await?;
    Ok(restarted.rows_affected())
}

/// A run that a restart has followed.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct EarlierRun {
    /// Number of its last attempt; `None` if none had begun.
    pub attempt: Option<i32>,
    pub verdict: Verdict,
    pub reason: Option<String>,
    pub runner: Option<String>,
    pub finished_at: DateTime<Utc>,
    /// Number of bytes of its last attempt's log.
    pub log_length: i64,
    /// Name of the person who asked for the restart.
    pub requested_by: String,
    pub requested_at: DateTime<Utc>,
}

/// Lists the earlier runs of a job, in their order.
pub async fn earlier_runs(db: &PgPool, job: JobId) -> sqlx::Result<Vec<EarlierRun>> {
    sqlx::query_as(
        "select attempt, verdict, reason, runner, finished_at, log_length, requested_by, requested_at
         from restart where job_id = $1 order by id",
    )
    .bind(job)
    .fetch_all(db)
    .await
}

/// Returns the length of the log of an attempt before the job's latest one, or `None` if there was no such attempt.
pub async fn earlier_log_length(db: &PgPool, attempt: AttemptId) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar(
        "select log_length from lost_attempt where job_id = $1 and attempt = $2
         union all
         select log_length from restart where job_id = $1 and attempt = $2",
    )
    .bind(attempt.job)
    .bind(attempt.number)
    .fetch_optional(db)
    .await
}
