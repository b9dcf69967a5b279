//! Publications: the weights of train jobs that go to the Hugging Face Hub.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value as Json;
use sqlx::{PgConnection, PgPool};

use crate::domain::{AttemptId, JobId, Sha, bounded, pg_text};

/// State of a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "publication_state", rename_all = "lowercase")]
pub enum PublicationState {
    Waiting,
    Published,
    Failed,
}

/// A publication that a process holds.
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

    /// Returns true if the job has passed less than this time ago.
    pub fn is_younger_than(&self, age: Duration) -> bool {
        self.age.unsigned_abs() < age.as_secs()
    }
}

/// The facts about a job that its publication needs.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct JobFacts {
    pub owner: String,
    pub name: String,
    /// True when the repository is not public.
    pub private: bool,
    /// Number of the build in its repository, and of the job in the build.
    pub build: i32,
    pub number: i32,
    /// Commit that was built.
    pub sha: Sha,
    /// The plan's order for the training.
    pub train: Json,
}

/// A publication as a page shows it.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Publication {
    pub target: String,
    pub state: PublicationState,
    pub tries: i32,
    pub error: Option<String>,
    pub commit_id: Option<String>,
    pub url: Option<String>,
    pub done_at: Option<DateTime<Utc>>,
}

/// Maximum length of a reason, in bytes.
const MAX_ERROR: usize = 500;

/// Inserts the publication of a job that has just passed, if it asks for one. A job is published once: after a restart,
/// only a publication that has failed begins again. Builds of pull requests publish nothing, whatever the plan says.
pub(super) async fn want(tx: &mut PgConnection, job: JobId) -> sqlx::Result<()> {
    sqlx::query(
        "insert into publication (job_id, repo_id, attempt, target)
         select job.id, job.repo_id, attempt, config #>> '{train,publish,huggingface}'
         from job join build on build.id = build_id
         where job.id = $1 and job.kind = 'train' and verdict = 'passed'
             and config #>> '{train,publish,huggingface}' is not null
             and build.kind <> 'pull_request' and pull_request is null and from_fork is not true
         on conflict (job_id) do update set attempt = excluded.attempt, target = excluded.target, state = 'waiting',
             not_before = now(), held_until = now(), created_at = now(), done_at = null, error = null
         where publication.state = 'failed'",
    )
    .bind(job)
    .execute(tx)
    .await?;
    Ok(())
}

/// Takes the publication that is due for the longest time, and holds it for `hold`. Those to one place follow the order
/// of their jobs, so that older weights do not replace newer ones.
pub async fn take(db: &PgPool, hold: Duration) -> sqlx::Result<Option<Due>> {
    sqlx::query_as(
        "update publication set tries = tries + 1, held_until = now() + $1
         where job_id = (
             select next.job_id from publication next
             where next.state = 'waiting' and not_before <= now() and held_until <= now()
                 and not exists (select from publication earlier
                     where earlier.state = 'waiting' and lower(earlier.target) = lower(next.target)
                         and earlier.job_id < next.job_id)
             order by not_before, next.job_id limit 1 for update skip locked)
         returning job_id, attempt, tries, greatest(extract(epoch from now() - created_at), 0)::bigint as age",
    )
    .bind(hold)
    .fetch_optional(db)
    .await
}

/// Holds a publication for a further time. Returns false if this try no longer has it.
pub async fn hold(db: &PgPool, due: &Due, hold: Duration) -> sqlx::Result<bool> {
    let held = sqlx::query(
        "update publication set held_until = now() + $3 where job_id = $1 and tries = $2 and state = 'waiting'",
    )
    .bind(due.job_id)
    .bind(due.tries)
    .bind(hold)
    .execute(db)
    .await?;
    Ok(held.rows_affected() == 1)
}

/// Schedules the next try, with the reason why this one has failed.
pub async fn later(db: &PgPool, due: &Due, delay: Duration, why: &str) -> sqlx::Result<()> {
    sqlx::query(
        "update publication set not_before = now() + $3, held_until = now(), error = $4
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

/// Ends a publication that no further try can help.
pub async fn fail(db: &PgPool, due: &Due, why: &str) -> sqlx::Result<()> {
    sqlx::query(
        "update publication set state = 'failed', done_at = now(), error = $3
         where job_id = $1 and tries = $2 and state = 'waiting'",
    )
    .bind(due.job_id)
    .bind(due.tries)
    .bind(bounded(pg_text(why), MAX_ERROR))
    .execute(db)
    .await?;
    Ok(())
}

/// Ends a publication whose files are on the Hub.
pub async fn done(db: &PgPool, due: &Due, commit: &str, url: &str) -> sqlx::Result<()> {
    sqlx::query(
        "update publication set state = 'published', done_at = now(), error = null, commit_id = $3, url = $4
         where job_id = $1 and tries = $2 and state = 'waiting'",
    )
    .bind(due.job_id)
    .bind(due.tries)
    .bind(pg_text(commit))
    .bind(pg_text(url))
    .execute(db)
    .await?;
    Ok(())
}

/// Reads the facts about a job.
pub async fn facts(db: &PgPool, job: JobId) -> sqlx::Result<JobFacts> {
    sqlx::query_as(
        "select owner, repo.name, private, build.number as build, job.number, built_sha as sha,
             coalesce(config -> 'train', '{}') as train
         from job join build on build.id = build_id join repo on repo.id = build.repo_id where job.id = $1",
    )
    .bind(job)
    .fetch_one(db)
    .await
}

/// Returns the publication of a job, if it has one.
pub async fn of(db: &PgPool, job: JobId) -> sqlx::Result<Option<Publication>> {
    sqlx::query_as("select target, state, tries, error, commit_id, url, done_at from publication where job_id = $1")
        .bind(job)
        .fetch_optional(db)
        .await
}
