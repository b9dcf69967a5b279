//! A job from its claim to its end: claim, adopt, beat, finish.

use std::time::Duration;

use serde_json::Value;
use sqlx::{Connection as _, PgConnection, PgExecutor, PgPool};

use super::rollup;
use super::turn::{self, Bounds, QueueConfig, shares, turn};
use crate::domain::{AttemptId, BuildId, JobId, JobKind, RepoId, Status, Stop, Verdict, pg_text};
use crate::store::output::checkpoints;
use crate::store::output::logs;
use crate::store::output::reports::{self, Reports};
use crate::store::output::trackings;
use crate::store::publications;
use crate::store::runner::gpus;

/// Columns of a [`Claimed`] that belong to the job itself; each query adds `gpus` and `age`.
macro_rules! claimed_columns {
    () => {
        "job.id, build_id, attempt, number, kind, stage, name, allow_failure, config, log_length, output_read, stop, reason"
    };
}
pub(super) use claimed_columns;

/// A worker's right to a job, and the job's facts.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Claimed {
    pub id: JobId,
    pub build_id: BuildId,
    /// The fence: number of the attempt.
    pub attempt: i32,
    /// Number of the job in its build, from 1.
    pub number: i32,
    pub kind: JobKind,
    /// Name of the job's stage.
    pub stage: Option<String>,
    /// Name of the job.
    pub name: Option<String>,
    /// True when the job's verdict does not count for the build.
    pub allow_failure: bool,
    /// Travis's normal form of the job.
    pub config: Value,
    /// Number of bytes of this attempt's log that are stored.
    pub log_length: i64,
    /// Number of bytes of the container's output that the stored log accounts for.
    pub output_read: i64,
    /// Reason why the container is being stopped, if that was decided.
    pub stop: Option<Stop>,
    /// Text of that reason: by whom and why.
    pub reason: Option<String>,
    /// UUIDs of the GPUs that the job holds.
    pub gpus: Vec<String>,
    /// Age of the attempt when it was claimed or adopted, in seconds, by the database's clock.
    pub age: f64,
}

impl Claimed {
    pub fn attempt_id(&self) -> AttemptId {
        AttemptId { job: self.id, number: self.attempt }
    }

    /// Returns the age that the attempt had when this process claimed or adopted it.
    pub fn age(&self) -> Duration {
        Duration::try_from_secs_f64(self.age).unwrap_or_default()
    }
}

/// Claims the next queued job without requirements for `runner`, for the time `lease`. It is a single statement, since
/// it is what workers do most. A claim can change only one thing of the build, namely that it has begun, so no roll-up
/// is needed: its status only begins with another word.
///
/// # Errors
/// Fails when Postgres does not answer; then nothing was claimed.
pub async fn claim(db: &PgPool, runner: &str, lease: Duration) -> sqlx::Result<Option<Claimed>> {
    claim_within(db, runner, lease, Bounds::NONE).await
}

/// Claims the next queued job without requirements that the limits permit, as [`claim`] does.
///
/// # Errors
/// Fails when Postgres does not answer; then nothing was claimed.
pub async fn claim_limited(
    db: &PgPool,
    runner: &str,
    lease: Duration,
    limits: &QueueConfig,
) -> sqlx::Result<Option<Claimed>> {
    let (mut tx, bounds) = limits.begin(db).await?;
    let claimed = claim_within(&mut *tx, runner, lease, bounds).await?;
    tx.commit().await?;
    Ok(claimed)
}

/// Each repository with queued jobs costs two short looks into an index, and none of its other jobs is read. `next` has
/// no order of its own, because that would lock the first job of every repository: it takes the rows of `turn` in
/// theirs, and ends with the first.
async fn claim_within(
    db: impl PgExecutor<'_>,
    runner: &str,
    lease: Duration,
    bounds: Bounds,
) -> sqlx::Result<Option<Claimed>> {
    sqlx::query_as(concat!(
        "with recursive lane as (
             (select repo_id, priority from job where state = 'queued' and not has_requirements and not_before <= now()
              order by repo_id, priority desc, id limit 1)
             union all
             select next.* from lane, lateral (
                 select job.repo_id, job.priority from job
                 where state = 'queued' and not has_requirements and not_before <= now() and job.repo_id > lane.repo_id
                 order by job.repo_id, job.priority desc, id limit 1
             ) next
         ), ",
        shares!(),
        ", next as (
             select head.id from (
                 select repo_id from share where priority >= $2 and (most is null or running < most)
                 order by running, ",
        turn!(),
        ", repo_id
             ) turn, lateral (
                 select id from job where state = 'queued' and not has_requirements and not_before <= now()
                     and job.repo_id = turn.repo_id and priority >= $2
                 order by priority desc, id limit 1 for update skip locked
             ) head limit 1
         ), claimed as (
             update job set state = 'running', attempt = attempt + 1, runner = $3, lease_until = now() + $4,
                 started_at = now(), log_length = 0, output_read = 0, stop = null, reason = null, exit_status = null,
                 only_once = null, warning = null
             from next where job.id = next.id
             returning ",
        claimed_columns!(),
        ", '{}'::text[] as gpus, 0::float8 as age
         ), begun as (
             update build set state = 'running', started_at = coalesce(started_at, now())
             from claimed where build.id = build_id and build.state = 'queued'
             returning build.id, build.repo_id, build.sha
         ), told as (
             update wish set wanted_seq = wanted_seq + 1, description = case
                 when length(description) - length($5) + length($6) > $7
                     then left($6 || substr(description, length($5) + 1), $7 - 1) || '…'
                 else $6 || substr(description, length($5) + 1) end
             from begun
             where (wish.repo_id, wish.sha, wish.build_id) = (begun.repo_id, begun.sha, begun.id)
                 and starts_with(description, $5)
         )
         select * from claimed",
    ))
    .bind(bounds.most)
    .bind(bounds.floor)
    .bind(runner)
    .bind(lease)
    .bind(Status::QUEUED)
    .bind(Status::RUNNING)
    .bind(i32::try_from(Status::MAX_DESCRIPTION).unwrap_or(i32::MAX))
    .fetch_optional(db)
    .await
}

/// Takes over a running job of `runner` whose container was found: the same attempt continues under a new lease.
/// Returns `None` when the attempt no longer has the job.
pub async fn adopt(db: &PgPool, attempt: AttemptId, runner: &str, lease: Duration) -> sqlx::Result<Option<Claimed>> {
    sqlx::query_as(concat!(
        "update job set lease_until = now() + $4
         where id = $1 and attempt = $2 and runner = $3 and state = 'running'
         returning ",
        claimed_columns!(),
        ", array(select uuid from gpu where job_id = job.id order by uuid) as gpus,
             extract(epoch from now() - started_at)::float8 as age",
    ))
    .bind(attempt.job)
    .bind(attempt.number)
    .bind(runner)
    .bind(lease)
    .fetch_optional(db)
    .await
}

/// Answer to a beat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beat {
    /// The lease is extended.
    Ours,
    /// The lease is extended, and the job must be stopped, for this reason.
    Stop(Stop, String),
    /// The attempt no longer has the job: its worker must stop the container and write nothing.
    Lost,
}

/// Extends a lease.
///
/// # Errors
/// Fails when Postgres does not answer within half a lease; the lease may or may not have been extended.
pub async fn beat(db: &PgPool, attempt: AttemptId, lease: Duration) -> sqlx::Result<Beat> {
    let mut connection = db.acquire().await?;
    let Ok(beat) = tokio::time::timeout(lease / 2, beat_on(&mut connection, attempt, lease)).await else {
        // A connection whose packets are lost fails after many minutes, and a new one may work at once.
        connection.close_on_drop();
        return Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()));
    };
    beat
}

async fn beat_on(connection: &mut PgConnection, attempt: AttemptId, lease: Duration) -> sqlx::Result<Beat> {
    let row: Option<(bool, Option<String>, Option<String>)> = sqlx::query_as(
        "update job set lease_until = now() + $3 where id = $1 and attempt = $2 and state = 'running'
         returning cancel_requested, reason, case when preempted_by is not null then (
             select owner || '/' || repo.name || ' #' || build.number || '.' || waiting.number
             from job waiting join build on build.id = waiting.build_id join repo on repo.id = build.repo_id
             where waiting.id = job.preempted_by) end",
    )
    .bind(attempt.job)
    .bind(attempt.number)
    .bind(lease)
    .fetch_optional(connection)
    .await?;
    Ok(match row {
        None => Beat::Lost,
        Some((true, reason, _)) => Beat::Stop(Stop::Canceled, reason.unwrap_or_else(|| "canceled".to_owned())),
        Some((false, _, Some(job))) => {
            Beat::Stop(Stop::Preempted, format!("it gives its GPUs to {job}, which waits for them"))
        }
        Some((false, _, None)) => Beat::Ours,
    })
}

/// Records why a container is being stopped before that happens, so that the reason survives a restart in between.
/// Returns false when the lease is lost.
pub async fn record_stop(db: &PgPool, attempt: AttemptId, stop: Stop, reason: &str) -> sqlx::Result<bool> {
    let noted = sqlx::query(
        "update job set stop = coalesce(stop, $3), reason = coalesce(reason, $4)
         where id = $1 and attempt = $2 and state = 'running'",
    )
    .bind(attempt.job)
    .bind(attempt.number)
    .bind(stop)
    .bind(reason)
    .execute(db)
    .await?;
    Ok(noted.rows_affected() == 1)
}

/// Records what the job's author should know of an attempt that has begun. Returns false when the lease is lost.
pub async fn record_warning(db: &PgPool, attempt: AttemptId, warning: &str) -> sqlx::Result<bool> {
    let noted = sqlx::query("update job set warning = $3 where id = $1 and attempt = $2 and state = 'running'")
        .bind(attempt.job)
        .bind(attempt.number)
        .bind(warning)
        .execute(db)
        .await?;
    Ok(noted.rows_affected() == 1)
}

/// End of an attempt.
#[derive(Debug, Clone)]
pub struct Finish<'a> {
    pub verdict: Verdict,
    /// Exit status of the script, if it ended.
    pub exit_status: Option<i64>,
    /// Reason for the verdict, in words.
    pub reason: Option<&'a str>,
    /// Last bytes of the log. They belong at `offset`.
    pub tail: &'a [u8],
    /// Offset of `tail` in the log.
    pub offset: i64,
    /// Results that are kept.
    pub reports: Reports,
}

/// Finishes an attempt: writes the last log bytes, the verdict, the build's roll-up and the wish in one transaction,
/// the publication of a training that has passed, and its way to the tracker.
/// Returns false, without writing anything, when the attempt is no longer the job's running one.
///
/// # Errors
/// Fails when Postgres does not answer; then nothing was written, and the caller may retry.
pub async fn finish(db: &PgPool, attempt: AttemptId, end: &Finish<'_>) -> anyhow::Result<bool> {
    let mut connection = db.acquire().await?;
    let mut tx = connection.begin().await?;
    if !logs::append(&mut tx, attempt, end.offset, end.tail, 0).await? {
        return Ok(false);
    }
    let finished: Option<(BuildId, RepoId, bool)> = sqlx::query_as(
        "update job set state = 'finished', verdict = $3, exit_status = $4,
             reason = coalesce($5, case when stop is distinct from 'preempted' then reason end),
             finished_at = now(), lease_until = null, preempted_by = null
         where id = $1 and attempt = $2 and state = 'running'
         returning build_id, repo_id, has_requirements",
    )
    .bind(attempt.job)
    .bind(attempt.number)
    .bind(end.verdict)
    .bind(end.exit_status)
    .bind(end.reason.map(pg_text))
    .fetch_optional(&mut *tx)
    .await?;
    let Some((build, repo, has_requirements)) = finished else { return Ok(false) };
    if has_requirements {
        gpus::release(&mut tx, attempt.job).await?;
    }
    reports::insert(&mut tx, attempt.job, &end.reports).await?;
    if end.verdict == Verdict::Passed {
        publications::want(&mut tx, attempt.job).await?;
    }
    if end.reports.is_tracked {
        trackings::want(&mut tx, attempt).await?;
    }
    checkpoints::end(&mut tx, attempt.job, end.verdict).await?;
    rollup::refresh(&mut tx, build).await?;
    turn::record_end(&mut tx, repo).await?;
    tx.commit().await?;
    Ok(true)
}

/// Lists the running jobs of a runner, with their attempts.
pub async fn running_of(db: &PgPool, runner: &str) -> sqlx::Result<Vec<AttemptId>> {
    sqlx::query_as("select id as job, attempt as number from job where state = 'running' and runner = $1 order by id")
        .bind(runner)
        .fetch_all(db)
        .await
}

/// Returns the stored length of a running attempt's log, or `None` when the attempt is no longer the job's running one.
pub async fn log_length(db: &mut PgConnection, attempt: AttemptId) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar("select log_length from job where id = $1 and attempt = $2 and state = 'running'")
        .bind(attempt.job)
        .bind(attempt.number)
        .fetch_optional(db)
        .await
}
