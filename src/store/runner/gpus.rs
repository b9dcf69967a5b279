//! GPUs that no job holds: which there are, and which are seen empty. Who holds one is written with the job's state, by
//! `jobs`.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};

use crate::domain::{AttemptId, GpuState, JobId};
use crate::gpu::{Gpu, Held};

/// The reason of a GPU that waits for the look after its last job.
const SETTLING: &str = "it was not looked at since its last job";

/// A GPU as its runner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its UUID.
    pub uuid: String,
    /// Its model.
    pub name: String,
    /// Its class.
    pub class: String,
    /// Bytes of memory.
    pub memory: i64,
    /// Why no job may have it now; none when it is empty.
    pub trouble: Option<String>,
}

/// What a look at a runner's GPUs has changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checked {
    /// GPUs that are free from now on.
    pub freed: Vec<String>,
    /// GPUs that are quarantined from now on, or for another reason.
    pub quarantined: Vec<(String, String)>,
    /// GPUs that another runner has, too.
    pub of_others: Vec<String>,
}

/// The time of the database's clock.
///
/// # Errors
/// When Postgres cannot be asked.
pub async fn now(db: &PgPool) -> sqlx::Result<DateTime<Utc>> {
    sqlx::query_scalar("select now()").fetch_one(db).await
}

/// Stores what a look at all GPUs of a runner has seen that began at `begun`. What a job holds stays as it is. One that was
/// released after the look began is not free by it: what was seen may be older than the job's last process.
///
/// # Errors
/// When Postgres cannot be asked; then nothing was written.
pub async fn record_check(db: &PgPool, runner: &str, begun: DateTime<Utc>, all: &[Seen]) -> sqlx::Result<Checked> {
    let mut tx = db.begin().await?;
    let mut looked = Checked::default();
    // Everybody locks GPUs in this order.
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
        .bind(&seen.trouble)
        .bind(begun)
        .fetch_optional(&mut *tx)
        .await?;
        match (changed, &seen.trouble) {
            (None, _) => {}
            (Some(_), None) => looked.freed.push(seen.uuid.clone()),
            (Some(_), Some(reason)) => looked.quarantined.push((seen.uuid.clone(), reason.clone())),
        }
    }
    tx.commit().await?;
    Ok(looked)
}

/// Makes sure that there is a row; false when the GPU is another runner's that is still there.
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

/// Quarantines every GPU of a runner that no job holds, since nobody can see whether it is empty.
///
/// # Errors
/// When Postgres cannot be asked.
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

/// The GPUs of a runner, with who holds them.
///
/// # Errors
/// When Postgres cannot be asked.
pub async fn of_runner(db: &mut PgConnection, runner: &str) -> sqlx::Result<Vec<Gpu>> {
    let rows: Vec<Row> = sqlx::query_as(
        "select uuid, memory, class, gpu.state, gpu.reason, since,
             owner || '/' || repo.name || ' #' || build.number || '.' || job.number as held_by,
             job_id, gpu.attempt, job.preemptible, job.preempted_by is not null as is_preempted
         from gpu left join job on job.id = job_id left join build on build.id = build_id left join repo on repo.id = repo_id
         where gpu.runner = $1 order by uuid",
    )
    .bind(runner)
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(Gpu::from).collect())
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
    .execute(tx)
    .await?;
    Ok(())
}
