//! New jobs of a build.

use serde_json::Value;
use sqlx::PgConnection;

use super::estimates::recipe;
use crate::domain::{BuildId, JobKind, JobState, Priority, RepoId, Requirements};

/// A job to be inserted with its build.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    pub kind: JobKind,
    /// Name of the job's stage.
    pub stage: Option<String>,
    /// Name of the job.
    pub name: Option<String>,
    /// True when the job's verdict does not count for the build.
    pub allow_failure: bool,
    /// Travis's normal form of the job.
    pub config: Value,
    /// Requirements on its runner in addition to a slot.
    pub requirements: Requirements,
}

/// A build that is being inserted.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct Origin {
    pub(in crate::store) build: BuildId,
    pub(in crate::store) repo: RepoId,
    pub(in crate::store) priority: Priority,
}

/// Inserts a build's jobs, numbered from 1. Jobs of the first stage are queued, unless the build needs an approval. The
/// others wait. The order of stages is that of their first jobs. Used by `builds::create`.
pub(in crate::store) async fn insert(
    tx: &mut PgConnection,
    origin: Origin,
    jobs: &[NewJob],
    needs_approval: bool,
) -> sqlx::Result<()> {
    let mut stages: Vec<&Option<String>> = Vec::new();
    for (number, job) in (1_i32..).zip(jobs) {
        let stage_order = stages.iter().position(|stage| **stage == job.stage).unwrap_or_else(|| {
            stages.push(&job.stage);
            stages.len() - 1
        });
        let gpus = job.requirements.gpus.as_ref();
        sqlx::query(
            "insert into job (build_id, number, kind, stage, stage_order, name, allow_failure, config, state,
                 gpu_count, gpu_memory, gpu_class, labels, preemptible, repo_id, priority, recipe)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)",
        )
        .bind(origin.build)
        .bind(number)
        .bind(job.kind)
        .bind(&job.stage)
        .bind(i32::try_from(stage_order).unwrap_or(i32::MAX))
        .bind(&job.name)
        .bind(job.allow_failure)
        .bind(&job.config)
        .bind(if stage_order == 0 && !needs_approval { JobState::Queued } else { JobState::Waiting })
        .bind(gpus.map_or(0, |request| request.count))
        .bind(gpus.map_or(0, |request| request.memory))
        .bind(gpus.and_then(|request| request.class.as_deref()))
        .bind(&job.requirements.labels)
        .bind(job.requirements.preemptible)
        .bind(origin.repo)
        .bind(origin.priority)
        .bind(recipe(job.kind, job.name.as_deref(), &job.config, gpus))
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}
