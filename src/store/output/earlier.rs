//! Earlier trainings, with which the gates of a later one compare.

use serde_json::Value as Json;
use sqlx::PgPool;

use crate::domain::{BuildId, JobId};

/// A training of an earlier build.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct EarlierTraining {
    pub job: JobId,
    /// Number of its build.
    pub build: i32,
}

/// Returns the last training of a config that has passed on a branch, with the same changes to the config, before a
/// build.
pub async fn last_passed(
    db: &PgPool,
    before: BuildId,
    branch: &str,
    config: &str,
    changes: &Json,
) -> sqlx::Result<Option<EarlierTraining>> {
    sqlx::query_as(
        "select job.id as job, build.number as build
         from build later
         join build on build.repo_id = later.repo_id and build.number < later.number
         join job on job.build_id = build.id
         where later.id = $1 and build.branch = $2 and build.pull_request is null
             and job.kind = 'train' and job.verdict = 'passed' and job.config #>> '{train,config}' = $3
             and coalesce(job.config #> '{train,changes}', '[]') = $4
         order by build.number desc, job.number limit 1",
    )
    .bind(before)
    .bind(branch)
    .bind(config)
    .bind(changes)
    .fetch_optional(db)
    .await
}
