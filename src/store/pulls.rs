//! The builds of a pull request, as commands need them.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};

use crate::domain::{BuildId, DeliveryId, RepoId, Sha};

/// A build that a command is about.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Known {
    pub id: BuildId,
    /// Number of the build in its repository.
    pub number: i32,
    /// Commit that gets the status.
    pub sha: Sha,
}

/// Returns the newest build of a pull request.
pub async fn newest(db: &PgPool, repo: RepoId, pull_request: i64) -> sqlx::Result<Option<Known>> {
    sqlx::query_as(
        "select id, number, sha from build
         where repo_id = $1 and pull_request = $2 and pull_request is not null order by id desc limit 1",
    )
    .bind(repo)
    .bind(i32::try_from(pull_request).unwrap_or(i32::MAX))
    .fetch_optional(db)
    .await
}

/// Lists the builds of a pull request's commit that wait for an approval and were there when a delivery came, and before
/// this time if one is given.
pub async fn unapproved(
    tx: &mut PgConnection,
    repo: RepoId,
    (pull_request, sha): (i64, &Sha),
    delivery: &DeliveryId,
    before: Option<DateTime<Utc>>,
) -> sqlx::Result<Vec<Known>> {
    sqlx::query_as(
        "select id, number, sha from build
         where repo_id = $1 and pull_request = $2 and sha = $3 and needs_approval and approved_at is null
           and finished_at is null and created_at < (select received_at from delivery where id = $4)
           and ($5::timestamptz is null or created_at < $5)
         order by id",
    )
    .bind(repo)
    .bind(i32::try_from(pull_request).unwrap_or(i32::MAX))
    .bind(sha)
    .bind(delivery)
    .bind(before)
    .fetch_all(tx)
    .await
}

/// Finds a build of a commit by its key.
pub async fn of_commit(db: &PgPool, repo: RepoId, build: BuildId, sha: &Sha) -> sqlx::Result<Option<Known>> {
    sqlx::query_as("select id, number, sha from build where id = $2 and repo_id = $1 and sha = $3")
        .bind(repo)
        .bind(build)
        .bind(sha)
        .fetch_optional(db)
        .await
}

/// Lists the newest builds of a commit that have check runs: one for each name of a check run.
pub async fn checked(db: &PgPool, repo: RepoId, sha: &Sha) -> sqlx::Result<Vec<Known>> {
    sqlx::query_as(
        "select distinct on (kind = 'pull_request', is_smoke) id, number, sha from build
         where repo_id = $1 and sha = $2 and has_check_run order by kind = 'pull_request', is_smoke, id desc",
    )
    .bind(repo)
    .bind(sha)
    .fetch_all(db)
    .await
}
