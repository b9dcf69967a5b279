//! Removal of a whole repository: its builds in bounded batches, then its row.
//!
//! Bodies of its deliveries with a build are emptied, and the rows stay until retention deletes them: so a redelivery does
//! not make the repository again.

use sqlx::PgPool;

use super::output::retention::{self, Deleted};
use super::queue;
use crate::domain::{BuildId, RepoId};

/// Rows of a repository, for the question whether they may go.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Contents {
    pub owner: String,
    pub name: String,
    pub builds: i64,
    pub jobs: i64,
    /// Number of jobs that wait, are queued or run.
    pub unfinished: i64,
    /// Number of logs and artifacts that are objects.
    pub objects: i64,
    /// Size of these objects, in bytes.
    pub size: i64,
}

/// Counts the rows of a repository.
pub async fn contents(db: &PgPool, repo: RepoId) -> sqlx::Result<Contents> {
    sqlx::query_as(
        "with object (size) as (
             select size from log_object where repo_id = $1 and key is not null
             union all
             select size from artifact where repo_id = $1 and key is not null
         )
         select owner, name, (select count(*) from build where repo_id = $1) as builds,
             (select count(*) from job where repo_id = $1) as jobs,
             (select count(*) from job where repo_id = $1 and state <> 'finished') as unfinished,
             (select count(*) from object) as objects,
             (select coalesce(sum(size), 0)::bigint from object) as size
         from repo where id = $1",
    )
    .bind(repo)
    .fetch_one(db)
    .await
}

/// Cancels the unfinished jobs of a repository. Running ones end when their workers have stopped them.
pub async fn cancel(db: &PgPool, repo: RepoId, reason: &str) -> sqlx::Result<()> {
    let builds: Vec<BuildId> =
        sqlx::query_scalar("select distinct build_id from job where repo_id = $1 and state <> 'finished'")
            .bind(repo)
            .fetch_all(db)
            .await?;
    for build in builds {
        let mut tx = db.begin().await?;
        queue::cancel_build(&mut tx, build, reason).await?;
        tx.commit().await?;
    }
    Ok(())
}

/// Deletes up to `most` builds of a repository that have no unfinished job, the oldest first, with everything that
/// belongs to them.
pub async fn remove_builds(db: &PgPool, repo: RepoId, most: i64) -> sqlx::Result<Deleted> {
    let mut tx = db.begin().await?;
    let builds: Vec<BuildId> = sqlx::query_scalar(
        "select id from build
         where repo_id = $1 and not exists (select from job where build_id = build.id and state <> 'finished')
         order by number limit $2",
    )
    .bind(repo)
    .bind(most)
    .fetch_all(&mut *tx)
    .await?;
    sqlx::query(
        "update delivery set body = ''
         where id in (select delivery_id from build where id = any($1)) and done_at is not null",
    )
    .bind(&builds)
    .execute(&mut *tx)
    .await?;
    let deleted = retention::delete(&mut tx, &builds).await?;
    tx.commit().await?;
    Ok(deleted)
}

/// Deletes the row of a repository and its key pair. Returns false when the repository has a build.
pub async fn remove(db: &PgPool, repo: RepoId) -> sqlx::Result<bool> {
    let mut tx = db.begin().await?;
    // No build can be added until the end: intake locks the row first.
    sqlx::query("select 1 from repo where id = $1 for update").bind(repo).execute(&mut *tx).await?;
    let deleted =
        sqlx::query("delete from repo where id = $1 and not exists (select from build where build.repo_id = repo.id)")
            .bind(repo)
            .execute(&mut *tx)
            .await?;
    tx.commit().await?;
    Ok(deleted.rows_affected() == 1)
}
