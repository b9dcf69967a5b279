//! Trainings on their way to the experiment tracker of the operator.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};

use crate::domain::{AttemptId, JobId, Sha, Verdict, bounded, pg_text};

/// State of a training on its way to the tracker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "tracking_state", rename_all = "lowercase")]
pub enum TrackingState {
    Waiting,
    Tracked,
    Failed,
}

/// A training that a process holds.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Due {
    pub job_id: JobId,
    pub attempt: i32,
    /// Number of tries, with this one.
    pub tries: i32,
    /// Age in seconds.
    pub age: i64,
}

impl Due {
    pub fn attempt_id(&self) -> AttemptId {
        AttemptId { job: self.job_id, number: self.attempt }
    }
}

/// The facts about a training that the tracker gets besides its reports.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct JobFacts {
    pub owner: String,
    pub name: String,
    /// Number of the build in its repository, and of the job in the build.
    pub build: i32,
    pub number: i32,
    /// Name of the job.
    pub title: Option<String>,
    pub branch: Option<String>,
    /// Commit that was built.
    pub sha: Sha,
    pub verdict: Verdict,
    pub started_at: DateTime<Utc>,
    pub finished_at: DateTime<Utc>,
}

/// A training in a tracker, as a page shows it.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Tracking {
    pub state: TrackingState,
    pub error: Option<String>,
    pub url: Option<String>,
}

/// Maximum length of a reason, in bytes.
const MAX_ERROR: usize = 500;

/// Lets the tracker get a training that has just ended. After a restart, it gets the new attempt as well.
pub(in crate::store) async fn want(tx: &mut PgConnection, attempt: AttemptId) -> sqlx::Result<()> {
    sqlx::query(
        "insert into tracking (job_id, attempt) values ($1, $2)
         on conflict (job_id) do update set attempt = excluded.attempt, state = 'waiting', not_before = now(),
             held_until = now(), created_at = now(), done_at = null, error = null, url = null",
    )
    .bind(attempt.job)
    .bind(attempt.number)
    .execute(tx)
    .await?;
    Ok(())
}

/// Takes the training that is due for the longest time, and holds it for `hold`. A job that was restarted meanwhile has
/// lost its reports.
pub async fn take(db: &PgPool, hold: Duration) -> sqlx::Result<Option<Due>> {
    sqlx::query_as(
        "update tracking set tries = tries + 1, held_until = now() + $1
         where job_id = (
             select next.job_id from tracking next join job on job.id = next.job_id
             where next.state = 'waiting' and next.not_before <= now() and next.held_until <= now()
                 and job.state = 'finished' and job.attempt = next.attempt
             order by next.not_before, next.job_id limit 1 for update of next skip locked)
         returning job_id, attempt, tries, greatest(extract(epoch from now() - created_at), 0)::bigint as age",
    )
    .bind(hold)
    .fetch_optional(db)
    .await
}

/// Schedules the next try, with the reason why this one has failed.
pub async fn later(db: &PgPool, due: &Due, delay: Duration, why: &str) -> sqlx::Result<()> {
    sqlx::query(
        "update tracking set not_before = now() + $3, held_until = now(), error = $4
         where job_id = $1 and tries = $2 and state = 'waiting'",
    )
    .bind(due.job_id)
    .bind(due.tries)
    .bind(delay)
    .bind(bounded(pg_text(why), MAX_ERROR))
    .execute(db)
    .await?;
    Ok(())
}

/// Ends a training that no further try can bring to the tracker.
pub async fn fail(db: &PgPool, due: &Due, why: &str) -> sqlx::Result<()> {
    sqlx::query(
        "update tracking set state = 'failed', done_at = now(), error = $3
         where job_id = $1 and tries = $2 and state = 'waiting'",
    )
    .bind(due.job_id)
    .bind(due.tries)
    .bind(bounded(pg_text(why), MAX_ERROR))
    .execute(db)
    .await?;
    Ok(())
}

/// Ends a training that the tracker has.
pub async fn done(db: &PgPool, due: &Due, url: &str) -> sqlx::Result<()> {
    sqlx::query(
        "update tracking set state = 'tracked', done_at = now(), error = null, url = $3
         where job_id = $1 and tries = $2 and state = 'waiting'",
    )
    .bind(due.job_id)
    .bind(due.tries)
    .bind(pg_text(url))
    .execute(db)
    .await?;
    Ok(())
}

/// Reads the facts about a job. Returns `None` if it was restarted since it was taken.
pub async fn facts(db: &PgPool, due: &Due) -> sqlx::Result<Option<JobFacts>> {
    sqlx::query_as(
        "select owner, repo.name, build.number as build, job.number, job.name as title, branch, built_sha as sha, verdict,
             job.started_at, job.finished_at
         from job join build on build.id = build_id join repo on repo.id = build.repo_id
         where job.id = $1 and attempt = $2 and job.state = 'finished'",
    )
    .bind(due.job_id)
    .bind(due.attempt)
    .fetch_optional(db)
    .await
}

/// Returns the state of a job on its way to the tracker; `None` for a job that goes to none.
pub async fn of(db: &PgPool, job: JobId) -> sqlx::Result<Option<Tracking>> {
    sqlx::query_as("select state, error, url from tracking where job_id = $1").bind(job).fetch_optional(db).await
}
