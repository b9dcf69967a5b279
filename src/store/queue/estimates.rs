//! How long jobs take, from the last runs of the same job that have passed.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;

use crate::domain::{GpuRequest, JobId, JobKind};

/// Hashes what a job does: its kind, name, configuration and GPUs. Gates and the time limit say nothing about how long it
/// takes.
pub(super) fn recipe(kind: JobKind, name: Option<&str>, config: &Value, gpus: Option<&GpuRequest>) -> Vec<u8> {
    let mut config = config.clone();
    if let Some(train) = config.get_mut("train").and_then(Value::as_object_mut) {
        train.retain(|key, _| key != "gates" && key != "timeout");
    }
    let gpus = gpus.map(|gpus| (gpus.count, gpus.memory, &gpus.class));
    Sha256::digest(json!([format!("{kind:?}"), name, config, gpus]).to_string()).to_vec()
}

/// Returns how long these jobs take: the median of the last five runs of the same job that have passed at their first
/// attempt. A job that has never passed is left out.
pub async fn estimates(db: &PgPool, jobs: &[JobId]) -> sqlx::Result<HashMap<JobId, Duration>> {
    let rows: Vec<(JobId, f64)> = sqlx::query_as(
        "select job.id, took from job, lateral (
             select percentile_cont(0.5) within group (order by took) as took from (
                 select extract(epoch from finished_at - started_at)::float8 as took from job earlier
                 where earlier.repo_id = job.repo_id and earlier.recipe = job.recipe and earlier.verdict = 'passed'
                     and earlier.id <> job.id and attempt = earlier_attempts + 1
                 order by earlier.id desc limit 5
             ) earlier
         ) median
         where job.id = any($1) and took is not null",
    )
    .bind(jobs)
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().filter_map(|(job, took)| Some((job, Duration::try_from_secs_f64(took).ok()?))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_do_not_make_another_job_and_commands_and_gpus_do() {
        let of = |command: &str, gates: Value, gpus: Option<&GpuRequest>| {
            let config = json!({"script": [command], "train": {"config": "ink.yaml", "gates": gates}});
            recipe(JobKind::Train, Some("train ink.yaml"), &config, gpus)
        };
        let first = of("python train.py", json!({}), None);
        assert_eq!(of("python train.py", json!({"loss": {"max": 0.1}}), None), first);
        assert_ne!(of("python other.py", json!({}), None), first);
        let gpus = GpuRequest { count: 1, memory: 0, class: None };
        assert_ne!(of("python train.py", json!({}), Some(&gpus)), first);
    }
}
