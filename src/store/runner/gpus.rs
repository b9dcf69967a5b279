//! GPUs that no job holds: which of them exist, and which are known to be empty. The holder of a GPU is written
//! together with the job's state, by `queue`.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};

use super::budgets;
use crate::domain::{AttemptId, GpuState, JobId};
use crate::gpu::{Gpu, Held};

/// Reason of a GPU that waits for the check after its last job.
const SETTLING: &str = "it has not been checked since its last job";

/// A GPU as its runner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub uuid: String,
    /// Name of the model.
    pub name: String,
    pub class: String,
    /// Memory in bytes.
    pub memory: i64,
    /// Reason why no job may have it now; `None` when it is empty.
    pub unusable: Option<String>,
}

/// Changes by a check of a runner's GPUs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checked {
    /// GPUs that are now free.
    pub freed: Vec<String>,
    /// GPUs that are now quarantined, or are so for another reason than before.
    pub quarantined: Vec<(String, String)>,
    /// GPUs that belong to another runner too.
    pub of_others: Vec<String>,
}

/// Returns the time of the database's clock.
pub async fn now(db: &PgPool) -> sqlx::Result<DateTime<Utc>> {
    sqlx::query_scalar("select now()").fetch_one(db).await
}

/// Stores the result of a check of all GPUs of a runner. The check began at `begun`. A GPU that a job holds stays as it
/// is. A GPU that was released after the check began does not become free by it: the result may be older than the job's
/// last process.
///
/// # Errors
/// Fails when Postgres does not answer; then nothing was written.
pub async fn record_check(db: &PgPool, runner: &str, begun: DateTime<Utc>, all: &[Seen]) -> sqlx::Result<Checked> {
    let mut tx = db.begin().await?;
    let mut looked = Checked::default();
    // All transactions lock GPUs in this order.
    sqlx::query("select 1 from gpu where runner = $1 order by uuid for update").bind(runner).execute(&mut *tx).await?;
    let uuids: Vec<&str> = all.iter().map(|seen| seen.uuid.as_str()).collect();
    sqlx::query("delete from gpu where runner = $1 and uuid <> all($2) and state <> 'held'")
        .bind(runner)
        .bind(&uuids)
        .execute(&mut *tx)
        .await?;
    for seen in all {
        if !know(&mut tx, runner, begun, seen).await? {
            looked.of_others.push(seen.uuid.clone());
            continue;
        }
        let changed: Option<GpuState> = sqlx::query_scalar(
            "update gpu set
                 state = case when $2::text is null then 'free' else 'quarantined' end::gpu_state,
                 reason = $2,
                 since = case when state = 'quarantined' and $2 is not null then since else now() end
             where uuid = $1 and state <> 'held' and reason is distinct from $2 and ($2 is not null or since <= $3)
             returning state",
        )
        .bind(&seen.uuid)
        .bind(&seen.unusable)
        .bind(begun)
        .fetch_optional(&mut *tx)
        .await?;
        match (changed, &seen.unusable) {
            (None, _) => {}
            (Some(_), None) => looked.freed.push(seen.uuid.clone()),
            (Some(_), Some(reason)) => looked.quarantined.push((seen.uuid.clone(), reason.clone())),
        }
    }
    tx.commit().await?;
    Ok(looked)
}

/// Makes sure that there is a row. Returns false when the GPU belongs to another runner that still exists.
async fn know(tx: &mut PgConnection, runner: &str, begun: DateTime<Utc>, seen: &Seen) -> sqlx::Result<bool> {
    let ours = sqlx::query(
        "insert into gpu (uuid, runner, name, class, memory, since) values ($1, $2, $3, $4, $5, $6)
         on conflict (uuid) do update set
             runner = excluded.runner, name = excluded.name, class = excluded.class, memory = excluded.memory
         where gpu.runner = excluded.runner or (gpu.state <> 'held' and not exists (
             select from runner where runner.name = gpu.runner and seen_at > now() - interval '1 min'
         ))",
    )
    .bind(&seen.uuid)
    .bind(runner)
    .bind(&seen.name)
    .bind(&seen.class)
    .bind(seen.memory)
    .bind(begun)
    .execute(tx)
    .await?;
    Ok(ours.rows_affected() == 1)
}

/// Quarantines every GPU of a runner that no job holds, because it cannot be checked whether it is empty.
pub async fn quarantine_all(db: &PgPool, runner: &str, reason: &str) -> sqlx::Result<()> {
    sqlx::query(
        "update gpu set since = case when state = 'free' then now() else since end, state = 'quarantined', reason = $2
         where runner = $1 and state <> 'held' and reason is distinct from $2",
    )
    .bind(runner)
    .bind(reason)
    .execute(db)
    .await?;
    Ok(())
}

#[derive(sqlx::FromRow)]
struct Row {
    uuid: String,
    memory: i64,
    class: String,
    state: GpuState,
    reason: Option<String>,
    since: DateTime<Utc>,
    held_by: Option<String>,
    job_id: Option<JobId>,
    attempt: Option<i32>,
    preemptible: Option<bool>,
    is_preempted: bool,
}

impl From<Row> for Gpu {
    fn from(row: Row) -> Self {
        let Row { uuid, memory, class, state, reason, since, preemptible, is_preempted, .. } = row;
        let attempt = row.job_id.zip(row.attempt).map(|(job, number)| AttemptId { job, number });
        let held = row.held_by.zip(attempt).map(|(by, attempt)| {
            let preemptible = preemptible.unwrap_or(false);
            Held { by, attempt, since, preemptible, is_preempted }
        });
        let is_settling = state == GpuState::Quarantined && reason.as_deref() == Some(SETTLING);
        Self { uuid, memory, class, state, reason, is_settling, held }
    }
}

/// Lists the GPUs of a runner, with their holders.
pub async fn of_runner(db: &mut PgConnection, runner: &str) -> sqlx::Result<Vec<Gpu>> {
    let rows: Vec<Row> = sqlx::query_as(
        "select uuid, memory, class, gpu.state, gpu.reason, since,
             owner || '/' || repo.name || ' #' || build.number || '.' || job.number as held_by,
             job_id, gpu.attempt, job.preemptible, job.preempted_by is not null as is_preempted
         from gpu left join job on job.id = job_id left join build on build.id = build_id left join repo on repo.id = build.repo_id
         where gpu.runner = $1 order by uuid",
    )
    .bind(runner)
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(Gpu::from).collect())
}

/// A GPU that jobs can have, now or after its holder.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(in crate::store) struct Usable {
    pub(in crate::store) runner: String,
    pub(in crate::store) memory: i64,
    pub(in crate::store) class: String,
    pub(in crate::store) job_id: Option<JobId>,
}

/// Lists the GPUs of all runners that are free, held, or waiting for their check after a job.
pub(in crate::store) async fn usable(db: &PgPool) -> sqlx::Result<Vec<Usable>> {
    sqlx::query_as(
        "select runner, memory, class, job_id from gpu where state <> 'quarantined' or reason = $1 order by runner, uuid",
    )
    .bind(SETTLING)
    .fetch_all(db)
    .await
}

/// Ends an attempt's right to its GPUs. They are free when they are seen empty.
pub(in crate::store) async fn release(tx: &mut PgConnection, job: JobId) -> sqlx::Result<()> {
    sqlx::query(
        "with held as (select uuid from gpu where job_id = $1 order by uuid for update)
         update gpu set state = 'quarantined', reason = $2, job_id = null, attempt = null, since = now()
         from held where gpu.uuid = held.uuid",
    )
    .bind(job)
    .bind(SETTLING)
    .execute(&mut *tx)
    .await?;
    budgets::end_use(tx, job).await
}
