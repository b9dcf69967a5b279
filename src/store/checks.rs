//! The rows that a check run shows.

use serde_json::Value as Json;
use sqlx::PgConnection;

use crate::domain::{BuildId, RepoId, Sha, Verdict};

/// A job in a check run.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct CheckedJob {
    /// `BUILD.JOB`, as in `12.1`.
    pub number: String,
    pub name: Option<String>,
    pub verdict: Option<Verdict>,
    /// True when the verdict does not count for the build.
    pub allow_failure: bool,
    pub reason: Option<String>,
}

/// The jobs of a build, and the reports of its smoke jobs with the numbers of these.
#[derive(Debug, Clone, Default)]
pub struct CheckedBuild {
    pub jobs: Vec<CheckedJob>,
    pub smoke: Vec<(String, Json)>,
}

/// Reads the jobs and reports of a build.
pub async fn of(db: &mut PgConnection, build: BuildId) -> sqlx::Result<CheckedBuild> {
    let jobs = sqlx::query_as(
        "select build.number || '.' || job.number as number, job.name, verdict, allow_failure, reason
         from job join build on build.id = build_id where build_id = $1 order by job.number",
    )
    .bind(build)
    .fetch_all(&mut *db)
    .await?;
    let smoke = sqlx::query_as(
        "select build.number || '.' || job.number, body
         from report join job on job.id = job_id join build on build.id = build_id
         where build_id = $1 and report.kind = 'smoke' order by job.number",
    )
    .bind(build)
    .fetch_all(db)
    .await?;
    Ok(CheckedBuild { jobs, smoke })
}

/// A build in our comment on a pull request.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Part {
    pub id: BuildId,
    /// Number of the build in its repository.
    pub number: i32,
    pub sha: Sha,
    /// Description of its status.
    pub description: String,
}

/// Lists the builds of which our comment on a pull request tells: the newest one, and the newest of smoke jobs alone.
pub async fn parts(db: &mut PgConnection, repo: RepoId, pull_request: Option<i32>) -> sqlx::Result<Vec<Part>> {
    sqlx::query_as(
        "select distinct on (is_smoke) build.id, number, build.sha, description
         from build join wish on wish.repo_id = build.repo_id and wish.sha = build.sha and wish.build_id = build.id
             and wish.kind = 'status' and context <> 'trainyard/lint'
         where build.repo_id = $1 and pull_request = $2 and pull_request is not null and has_comment
         order by is_smoke, build.id desc",
    )
    .bind(repo)
    .bind(pull_request)
    .fetch_all(db)
    .await
}
