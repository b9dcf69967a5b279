//! The files that jobs have left. The bytes are objects. A row has the name, size and hash, and outlives them.

use sqlx::{PgConnection, PgPool};

use crate::domain::{AttemptId, JobId};

/// A file that was stored as an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewArtifact {
    /// Path as the job's author knows it.
    pub path: String,
    /// Key of the object.
    pub key: String,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 of the bytes.
    pub sha256: [u8; 32],
}

/// A file that a job has left.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Artifact {
    pub path: String,
    /// Key of the object; `None` once it was removed.
    pub key: Option<String>,
    /// Size in bytes.
    pub size: i64,
    /// SHA-256 of the bytes.
    pub sha256: Vec<u8>,
    /// Reason for the removal, in words.
    pub removed: Option<String>,
}

/// Stores the files that the last attempt at a job has left, with its verdict.
pub(super) async fn insert(tx: &mut PgConnection, job: JobId, artifacts: &[NewArtifact]) -> sqlx::Result<()> {
    if artifacts.is_empty() {
        return Ok(());
    }
    let paths: Vec<&str> = artifacts.iter().map(|artifact| artifact.path.as_str()).collect();
    let keys: Vec<&str> = artifacts.iter().map(|artifact| artifact.key.as_str()).collect();
    let sizes: Vec<i64> = artifacts.iter().map(|artifact| i64::try_from(artifact.size).unwrap_or(i64::MAX)).collect();
    let hashes: Vec<&[u8]> = artifacts.iter().map(|artifact| artifact.sha256.as_slice()).collect();
    sqlx::query(
        "insert into artifact (job_id, attempt, path, key, size, sha256, repo_id)
         select job.id, attempt, path, key, size, sha256, repo_id
         from job, unnest($2::text[], $3::text[], $4::bigint[], $5::bytea[]) as new (path, key, size, sha256)
         where job.id = $1",
    )
    .bind(job)
    .bind(paths)
    .bind(keys)
    .bind(sizes)
    .bind(hashes)
    .execute(tx)
    .await?;
    Ok(())
}

/// Lists the files that an attempt has left, by path.
pub async fn of(db: &PgPool, attempt: AttemptId) -> sqlx::Result<Vec<Artifact>> {
    sqlx::query_as(
        "select path, key, size, sha256, removed from artifact where job_id = $1 and attempt = $2 order by path",
    )
    .bind(attempt.job)
    .bind(attempt.number)
    .fetch_all(db)
    .await
}

/// Finds a file that an attempt has left.
pub async fn find(db: &PgPool, attempt: AttemptId, path: &str) -> sqlx::Result<Option<Artifact>> {
    sqlx::query_as(
        "select path, key, size, sha256, removed from artifact where job_id = $1 and attempt = $2 and path = $3",
    )
    .bind(attempt.job)
    .bind(attempt.number)
    .bind(path)
    .fetch_optional(db)
    .await
}
