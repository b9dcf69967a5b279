//! The rows that a check run shows.

use serde_json::Value as Json;
use sqlx::PgConnection;

use crate::domain::{BuildId, Verdict};

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
