//! Publications as people see them.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgPool;
use utoipa::ToSchema;

use super::{Place, PublicationState};
use crate::domain::JobId;

/// A publication as pages and programs see it.
#[derive(Debug, Clone, Serialize, ToSchema, sqlx::FromRow)]
pub struct Publication {
    pub place: Place,
    /// A repository on the Hub, a repository at GitHub, or a folder in a bucket.
    pub target: String,
    pub state: PublicationState,
    /// Number of tries.
    pub tries: i32,
    /// Reason why the last try has failed, or why nothing is published.
    pub error: Option<String>,
    /// The commit on the Hub.
    pub commit_id: Option<String>,
    /// Address of what was published.
    pub url: Option<String>,
    /// Environment whose people decide; null if nobody has to.
    pub environment: Option<String>,
    /// Name of the person who has approved or rejected it.
    pub decided_by: Option<String>,
    pub decided_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    /// Time of its end.
    pub done_at: Option<DateTime<Utc>>,
}

/// The publications that have failed for good in the last week.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Failed {
    /// Number of them.
    pub count: i64,
    /// The job of the last one: its repository, the number of its build, and its own.
    pub owner: String,
    pub name: String,
    pub build: i32,
    pub job: i32,
    pub target: String,
    pub error: String,
}

/// Lists the publications of a job.
pub async fn of(db: &PgPool, job: JobId) -> sqlx::Result<Vec<Publication>> {
    sqlx::query_as(
        "select place, target, state, tries, error, commit_id, url, environment, decided_by, decided_at, created_at, done_at
         from publication where job_id = $1 order by place",
    )
    .bind(job)
    .fetch_all(db)
    .await
}

/// Returns the publications that have failed for good in the last week; `None` if there are none.
pub async fn failed(db: &PgPool) -> sqlx::Result<Option<Failed>> {
    sqlx::query_as(
        "select count(*) over () as count, owner, repo.name, build.number as build, job.number as job, target, error
         from publication join repo on repo.id = publication.repo_id join job on job.id = job_id
             join build on build.id = job.build_id
         where publication.state = 'failed' and done_at > now() - interval '7 days'
         order by done_at desc limit 1",
    )
    .fetch_optional(db)
    .await
}
