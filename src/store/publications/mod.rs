//! Publications: the weights of train jobs that go to other places. The publisher's statements are here; those of people
//! are in `decisions` and `shown`.

mod decisions;
mod shown;

use std::time::Duration;

use serde::Serialize;
use serde_json::Value as Json;
use sqlx::{PgConnection, PgPool};
use utoipa::ToSchema;

pub use self::decisions::{Decision, decide, environment, retry};
pub use self::shown::{Failed, Publication, failed, of};
use crate::domain::{AttemptId, JobId, Sha, bounded, pg_text};

/// Kind of the place to which weights go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type, Serialize, ToSchema)]
#[sqlx(type_name = "publication_place", rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
#[schema(as = PublicationPlace)]
pub enum Place {
    /// A repository on the Hugging Face Hub.
    HuggingFace,
    /// A release at GitHub.
    Release,
    /// A folder in a bucket.
    S3,
}

/// State of a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type, Serialize, ToSchema)]
#[sqlx(type_name = "publication_state", rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum PublicationState {
    /// Waiting for the approval of a person.
    Unapproved,
    /// On its way.
    Waiting,
    Published,
    /// No further try can help.
    Failed,
    /// A person has rejected it.
    Rejected,
}

/// A publication that a process holds.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Due {
    pub job_id: JobId,
    pub place: Place,
    pub attempt: i32,
    /// The folder for `s3`, with the number of the build in it.
    pub target: String,
    /// The environment that has approved it, if it needs an approval.
    pub environment: Option<String>,
    /// Number of tries, with this one.
    pub tries: i32,
    /// Age in seconds.
    pub age: i64,
}

impl Due {
    pub fn attempt_id(&self) -> AttemptId {
        AttemptId { job: self.job_id, number: self.attempt }
    }

    /// Returns true if the job has passed, or the publication was approved, less than this time ago.
    pub fn is_younger_than(&self, age: Duration) -> bool {
        self.age.unsigned_abs() < age.as_secs()
    }
}

/// The facts about a job that its publication needs.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct JobFacts {
    pub owner: String,
    pub name: String,
    /// The server's number of the repository.
    pub github_id: i64,
    /// True when the repository is not public.
    pub private: bool,
    /// Number of the build in its repository, and of the job in the build.
    pub build: i32,
    pub number: i32,
    /// The git tag that was built, if one was.
    pub tag: Option<String>,
    /// Commit that was built.
    pub sha: Sha,
    /// The plan's order for the training.
    pub train: Json,
}

/// Maximum length of a reason, in bytes.
const MAX_ERROR: usize = 500;

/// Inserts the publications of a job that has just passed, if it asks for some. A job is published once to each place:
/// after a restart, only a publication that has failed, was rejected or was not approved yet begins again. Builds of pull
/// requests publish nothing, whatever the plan says.
pub(super) async fn want(tx: &mut PgConnection, job: JobId) -> sqlx::Result<()> {
    sqlx::query(
        "insert into publication (job_id, place, repo_id, attempt, target, environment, state)
         select job.id, place.kind, job.repo_id, attempt, place.target, config #>> '{train,publish,environment}',
             case when config #>> '{train,publish,environment}' is null then 'waiting' else 'unapproved' end::publication_state
         from job join build on build.id = build_id join repo on repo.id = job.repo_id,
             lateral (values
                 ('huggingface'::publication_place, config #>> '{train,publish,huggingface}'),
                 ('release', case when config #>> '{train,publish,release}' = 'true' then owner || '/' || repo.name end),
                 ('s3', replace(config #>> '{train,publish,s3}', '{build}', build.number::text))
             ) as place (kind, target)
         where job.id = $1 and job.kind = 'train' and verdict = 'passed' and place.target is not null
             and build.kind <> 'pull_request' and pull_request is null and from_fork is not true
         on conflict (job_id, place) do update set attempt = excluded.attempt, target = excluded.target,
             environment = excluded.environment, state = excluded.state, decided_by = null, decided_at = null,
             not_before = now(), held_until = now(), created_at = now(), done_at = null, error = null
         where publication.state in ('failed', 'rejected', 'unapproved')",
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
         where (job_id, place) = (
             select next.job_id, next.place from publication next
             where next.state = 'waiting' and not_before <= now() and held_until <= now()
                 and not exists (select from publication earlier
                     where earlier.state = 'waiting' and earlier.place = next.place
                         and lower(earlier.target) = lower(next.target) and earlier.job_id < next.job_id)
             order by not_before, next.job_id limit 1 for update skip locked)
         returning job_id, place, attempt, target, environment, tries,
             greatest(extract(epoch from now() - created_at), 0)::bigint as age",
    )
    .bind(hold)
    .fetch_optional(db)
    .await
}

/// Holds a publication for a further time. Returns false if this try no longer has it.
pub async fn hold(db: &PgPool, due: &Due, hold: Duration) -> sqlx::Result<bool> {
    let held = sqlx::query(
        "update publication set held_until = now() + $4
         where job_id = $1 and place = $2 and tries = $3 and state = 'waiting'",
    )
    .bind(due.job_id)
    .bind(due.place)
    .bind(due.tries)
    .bind(hold)
    .execute(db)
    .await?;
    Ok(held.rows_affected() == 1)
}

/// Schedules the next try, with the reason why this one has failed.
pub async fn later(db: &PgPool, due: &Due, delay: Duration, why: &str) -> sqlx::Result<()> {
    sqlx::query(
        "update publication set not_before = now() + $4, held_until = now(), error = $5
         where job_id = $1 and place = $2 and tries = $3 and state = 'waiting'",
    )
    .bind(due.job_id)
    .bind(due.place)
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
        "update publication set state = 'failed', done_at = now(), error = $4
         where job_id = $1 and place = $2 and tries = $3 and state = 'waiting'",
    )
    .bind(due.job_id)
    .bind(due.place)
    .bind(due.tries)
    .bind(bounded(pg_text(why), MAX_ERROR))
    .execute(db)
    .await?;
    Ok(())
}

/// Ends a publication whose files are at their place. Only the Hub has a commit.
pub async fn done(db: &PgPool, due: &Due, commit: Option<&str>, url: &str) -> sqlx::Result<()> {
    sqlx::query(
        "update publication set state = 'published', done_at = now(), error = null, commit_id = $4, url = $5
         where job_id = $1 and place = $2 and tries = $3 and state = 'waiting'",
    )
    .bind(due.job_id)
    .bind(due.place)
    .bind(due.tries)
    .bind(commit.map(pg_text))
    .bind(pg_text(url))
    .execute(db)
    .await?;
    Ok(())
}

/// Reads the facts about a job.
pub async fn facts(db: &PgPool, job: JobId) -> sqlx::Result<JobFacts> {
    sqlx::query_as(
        "select owner, repo.name, github_id, private, build.number as build, job.number, tag, built_sha as sha,
             coalesce(config -> 'train', '{}') as train
         from job join build on build.id = build_id join repo on repo.id = build.repo_id where job.id = $1",
    )
    .bind(job)
    .fetch_one(db)
    .await
}
