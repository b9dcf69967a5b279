//! Data sets and models of train jobs: what their addresses mean for a build, and what was fetched.

use sqlx::PgPool;

use crate::domain::{AttemptId, BuildId, JobId};

/// An input that was fetched for a build.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct FetchedInput {
    /// The address, as the `.travis.yml` has it.
    pub source: String,
    /// The commit, the SHA-256 or the state that was fetched.
    pub revision: String,
    /// SHA-256 of the file, or of the list of the files.
    pub digest: String,
    pub files: i64,
    pub bytes: i64,
}

/// Returns the revision that a build has of an address, if that was decided.
pub async fn decided(db: &PgPool, build: BuildId, source: &str) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar("select revision from input where build_id = $1 and source = $2")
        .bind(build)
        .bind(source)
        .fetch_optional(db)
        .await
}

/// Decides on the revision that a build has of an address, unless another job has. Returns the one that counts; `None` if
/// the attempt is no longer the job's running one.
pub async fn decide(db: &PgPool, attempt: AttemptId, source: &str, revision: &str) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar(
        "insert into input (build_id, source, revision)
         select build_id, $3, $4 from job where id = $1 and attempt = $2 and state = 'running'
         on conflict (build_id, source) do update set source = excluded.source
         returning revision",
    )
    .bind(attempt.job)
    .bind(attempt.number)
    .bind(source)
    .bind(revision)
    .fetch_optional(db)
    .await
}

/// Records what was fetched, unless another job of the build has. Returns the digest that counts; `None` if the attempt is
/// no longer the job's running one.
pub async fn record(db: &PgPool, attempt: AttemptId, input: &FetchedInput) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar(
        "insert into input (build_id, source, revision, digest, files, bytes, fetched_at)
         select build_id, $3, $4, $5, $6, $7, now() from job where id = $1 and attempt = $2 and state = 'running'
         on conflict (build_id, source) do update set
             digest = coalesce(input.digest, excluded.digest), files = coalesce(input.files, excluded.files),
             bytes = coalesce(input.bytes, excluded.bytes), fetched_at = coalesce(input.fetched_at, excluded.fetched_at)
         returning digest",
    )
    .bind(attempt.job)
    .bind(attempt.number)
    .bind(&input.source)
    .bind(&input.revision)
    .bind(&input.digest)
    .bind(input.files)
    .bind(input.bytes)
    .fetch_optional(db)
    .await
}

/// Lists what was fetched for the build of a job.
pub async fn of_job(db: &PgPool, job: JobId) -> sqlx::Result<Vec<FetchedInput>> {
    sqlx::query_as(
        "select source, revision, digest, files, bytes from input
         where build_id = (select build_id from job where id = $1) and digest is not null order by source",
    )
    .bind(job)
    .fetch_all(db)
    .await
}

/// Lists the digests of the inputs that running jobs may see.
pub async fn in_use(db: &PgPool) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "select distinct digest from input join job on job.build_id = input.build_id
         where job.state = 'running' and digest is not null",
    )
    .fetch_all(db)
    .await
}
