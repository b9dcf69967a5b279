//! Notifications: events of builds and of publications for their receivers. The schema makes a row for each, in the
//! transaction that changes the build or the publication.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value as Json;
use sqlx::PgPool;
use sqlx::types::Json as AsJson;

use crate::domain::{BuildId, BuildState, JobId, JobState, RepoId, Sha, TriggerKind, Verdict, bounded, pg_text};
use crate::travis::notifications::{Receiver, Recipient, SlackRoom};

/// A notification that is due.
#[derive(Debug, sqlx::FromRow)]
pub struct Notification {
    pub id: i64,
    pub repo_id: RepoId,
    pub build_id: BuildId,
    /// The job whose publications the event is about; `None` for an event of the build.
    pub job_id: Option<JobId>,
    /// Travis's word for the event; for one of publications, `approval`, `published` or `failed`.
    pub event: String,
    pub state: BuildState,
    /// State of the last finished build of the branch, or of the pull request, before this one.
    pub previous: Option<BuildState>,
    pub receiver: AsJson<Target>,
    /// Number of tries, with this one.
    pub tries: i32,
    /// Age in seconds.
    pub age: i64,
}

impl Notification {
    /// Returns true if the event was less than this time ago.
    pub fn is_younger_than(&self, age: Duration) -> bool {
        self.age.unsigned_abs() < age.as_secs()
    }
}

/// Receiver of a notification.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Target {
    /// A chat of the configuration, by its name, or another receiver of it, as `webhook:NAME`.
    Operator { chat: String },
    /// A recipient of emails that the `.travis.yml` names.
    Email(Recipient),
    /// A room of Slack that the `.travis.yml` names.
    Slack(SlackRoom),
    /// A webhook that the `.travis.yml` asks for.
    Webhook(Receiver),
}

/// Maximum length of an outcome, in bytes.
const MAX_OUTCOME: usize = 300;
/// Maximum size of the commit message in a payload, in characters. A payload has it once for each job.
const MAX_MESSAGE: i32 = 4_000;

/// Takes the notification that is due for the longest time, and holds it for `hold`. Each repository has one request at a
/// time, so its slow receivers delay no others.
pub async fn take(db: &PgPool, hold: Duration) -> sqlx::Result<Option<Notification>> {
    sqlx::query_as(
        "update notification set tries = tries + 1, held_until = now() + $1
         from build
         where build.id = build_id and notification.id = (
             select next.id from notification next
             where done_at is null and not_before <= now() and held_until <= now()
                 and not exists (select from notification held
                     where held.repo_id = next.repo_id and held.done_at is null and held.held_until > now())
             order by not_before, next.id limit 1 for update skip locked)
         returning notification.id, notification.repo_id, build_id, job_id, event, notification.state, receiver, tries,
             greatest(extract(epoch from now() - notification.created_at), 0)::bigint as age,
             (select earlier.state from build earlier
              where earlier.repo_id = build.repo_id and earlier.number < build.number
                  and earlier.branch is not distinct from build.branch
                  and earlier.pull_request is not distinct from build.pull_request
                  and earlier.finished_at is not null
              order by earlier.number desc limit 1) as previous",
    )
    .bind(hold)
    .fetch_optional(db)
    .await
}

/// Removes a notification that its receiver does not ask for.
pub async fn remove(db: &PgPool, id: i64) -> sqlx::Result<()> {
    sqlx::query("delete from notification where id = $1").bind(id).execute(db).await?;
    Ok(())
}

/// Ends a notification, with its outcome in words.
pub async fn done(db: &PgPool, id: i64, outcome: &str) -> sqlx::Result<()> {
    sqlx::query("update notification set done_at = now(), held_until = now(), outcome = $2 where id = $1")
        .bind(id)
        .bind(text(outcome))
        .execute(db)
        .await?;
    Ok(())
}

/// Schedules the next try of a notification, with the failure of the last one in words.
pub async fn later(db: &PgPool, id: i64, delay: Duration, failure: &str) -> sqlx::Result<()> {
    sqlx::query("update notification set not_before = now() + $2, held_until = now(), outcome = $3 where id = $1")
        .bind(id)
        .bind(delay)
        .bind(text(failure))
        .execute(db)
        .await?;
    Ok(())
}

/// Lets a notification wait, since its receiver asks for that. The try does not count.
pub async fn wait(db: &PgPool, id: i64, delay: Duration, why: &str) -> sqlx::Result<()> {
    sqlx::query(
        "update notification set not_before = now() + $2, held_until = now(), outcome = $3, tries = tries - 1
         where id = $1",
    )
    .bind(id)
    .bind(delay)
    .bind(text(why))
    .execute(db)
    .await?;
    Ok(())
}

/// Returns true if a newer build has canceled a build.
pub async fn is_superseded(db: &PgPool, build: BuildId) -> sqlx::Result<bool> {
    sqlx::query_scalar(
        "select exists (select from job where build_id = $1 and verdict = 'canceled' and reason like '%build #% is newer')",
    )
    .bind(build)
    .fetch_one(db)
    .await
}

/// Returns the description of a build's status at its commit, if it has one.
pub async fn status(db: &PgPool, build: BuildId) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar(
        "select description from wish where build_id = $1 and kind = 'status' and context not like '%/lint'
         order by context limit 1",
    )
    .bind(build)
    .fetch_optional(db)
    .await
}

/// Loss of a training of a build.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Loss {
    /// Name of the job.
    pub name: Option<String>,
    pub steps: Vec<i64>,
    pub points: Vec<f64>,
}

/// Returns the losses of a build's first trainings.
pub async fn losses(db: &PgPool, build: BuildId, most: i64) -> sqlx::Result<Vec<Loss>> {
    sqlx::query_as(
        "select job.name, steps, points from job join series on series.job_id = job.id and series.name = 'loss'
         where build_id = $1 and kind in ('smoke', 'train') order by kind = 'train' desc, number limit $2",
    )
    .bind(build)
    .bind(most)
    .fetch_all(db)
    .await
}

/// An attempt whose loss can be drawn.
#[derive(Debug, Clone, Copy, sqlx::FromRow)]
pub struct Charted {
    pub job: JobId,
    pub attempt: i32,
    pub ended_at: DateTime<Utc>,
}

/// Returns the last attempt of a build's first training that has told two losses at least.
pub async fn charted(db: &PgPool, build: BuildId) -> sqlx::Result<Option<Charted>> {
    sqlx::query_as(
        "select job.id as job, attempt, finished_at as ended_at
         from job join series on series.job_id = job.id and series.name = 'loss'
         where build_id = $1 and kind in ('smoke', 'train') and finished_at is not null and cardinality(points) > 1
         order by kind = 'train' desc, number limit 1",
    )
    .bind(build)
    .fetch_optional(db)
    .await
}

fn text(words: &str) -> String {
    bounded(pg_text(words), MAX_OUTCOME)
}

/// Facts about a build for its payload.
#[derive(Debug, sqlx::FromRow)]
pub struct Facts {
    pub number: i32,
    pub kind: TriggerKind,
    pub config: Json,
    pub branch: Option<String>,
    pub tag: Option<String>,
    pub sha: Sha,
    pub built_sha: Sha,
    pub before_sha: Option<Sha>,
    pub message: Option<String>,
    pub author: Option<String>,
    pub compare_url: Option<String>,
    pub pull_request: Option<i32>,
    pub pull_request_title: Option<String>,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
    pub owner: String,
    pub name: String,
    pub clone_url: String,
}

/// Facts about a job for the payload of its build.
#[derive(Debug, sqlx::FromRow)]
pub struct JobFacts {
    pub id: JobId,
    pub number: i32,
    pub state: JobState,
    pub verdict: Option<Verdict>,
    pub config: Json,
    pub allow_failure: bool,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
}

/// Reads the facts about a build and its jobs.
pub async fn facts(db: &PgPool, build: BuildId) -> sqlx::Result<(Facts, Vec<JobFacts>)> {
    let facts = sqlx::query_as(
        "select number, kind, coalesce(webhooks -> 'config', '{}') as config, branch, tag, sha, built_sha, before_sha,
             left(message, $2) as message, author, compare_url, pull_request, pull_request_title, started_at,
             finished_at, owner, name, clone_url
         from build join repo on repo.id = repo_id where build.id = $1",
    )
    .bind(build)
    .bind(MAX_MESSAGE)
    .fetch_one(db)
    .await?;
    let jobs = sqlx::query_as(
        "select id, number, state, verdict, config, allow_failure, started_at, finished_at
         from job where build_id = $1 order by number",
    )
    .bind(build)
    .fetch_all(db)
    .await?;
    Ok((facts, jobs))
}
