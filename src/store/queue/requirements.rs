//! Jobs with requirements: their claims, the GPUs of a runner that they get, and the reasons of those that wait.
//!
//! A GPU is leased in the transaction that claims its job, and released in the one that ends the attempt.

use std::time::Duration;

use sqlx::{PgConnection, PgExecutor, PgPool};

use super::jobs::{Claimed, claimed_columns};
use super::rollup;
use super::turn::{Bounds, QueueConfig, shares, turn};
use crate::domain::{AttemptId, BuildId, GpuRequest, JobId, RepoId};
use crate::gpu::{self, Gpu, Wait, choose, wait_in_words};
use crate::store::runner::budgets::{self, UsedUp, person};
use crate::store::runner::gpus;

/// Maximum number of waiting jobs that a claim considers: more than GPUs become free at a time.
const MAX_CANDIDATES: i64 = 64;
/// Maximum number of waiting jobs that get a wait reason.
const MAX_REPORTED: i64 = 200;

/// Common table of the repositories that have queued jobs with requirements.
macro_rules! lanes {
    () => {
        "with recursive lane as (
             (select repo_id from job where state = 'queued' and has_requirements order by repo_id limit 1)
             union all
             select next.repo_id from lane, lateral (
                 select job.repo_id from job
                 where state = 'queued' and has_requirements and job.repo_id > lane.repo_id
                 order by job.repo_id limit 1
             ) next
         )"
    };
}

/// Condition of a job of the queue that a budget holds: `$3` has the repositories whose budgets are used up, and `$4` the
/// people.
macro_rules! held {
    () => {
        "(gpu_count > 0 and (job.repo_id = any($3::bigint[]) or (cardinality($4::text[]) > 0 and exists (
             select from build join repo on repo.id = build.repo_id
             where build.id = job.build_id and lower(split_part(
                 case when forge = 'github' then sender else forge || ':' || sender end, ' (', 1)) = any($4::text[])))))"
    };
}
pub(super) use held;
pub(super) use lanes;

#[derive(sqlx::FromRow)]
struct Candidate {
    id: JobId,
    build_id: BuildId,
    repo_id: RepoId,
    /// The person who has asked for the build.
    person: Option<String>,
    gpu_count: i32,
    gpu_memory: i64,
    gpu_class: Option<String>,
    labels: Vec<String>,
    wait_reason: Option<String>,
    preemptible: bool,
    is_long_queued: bool,
}

impl Candidate {
    fn request(&self) -> Option<GpuRequest> {
        let class = self.gpu_class.clone();
        (self.gpu_count > 0).then_some(GpuRequest { count: self.gpu_count, memory: self.gpu_memory, class })
    }
}

/// Claims the first queued job whose requirements `runner` can meet now and that the limits permit, together with the
/// GPUs that it gets.
///
/// # Errors
/// Fails when Postgres does not answer; then nothing was claimed.
pub async fn claim_with_requirements(
    db: &PgPool,
    runner: &str,
    lease: Duration,
    limits: &QueueConfig,
) -> sqlx::Result<Option<Claimed>> {
    let mut waiting = candidates(db, runner, Bounds::NONE, &UsedUp::default()).await?;
    if waiting.is_empty() {
        return Ok(None);
    }
    let used_up = UsedUp::read(db).await?;
    let (mut tx, bounds) = limits.begin(db).await?;
    if !limits.is_unlimited() || !used_up.is_empty() {
        waiting = candidates(&mut *tx, runner, bounds, &used_up).await?;
    }
    let Some((place, chosen)) = chosen_of(&mut tx, runner, &waiting).await? else {
        tx.commit().await?;
        return Ok(None);
    };
    let claimed: Option<Claimed> = sqlx::query_as(concat!(
        "with next as (
             select id from job where id = $3 and state = 'queued' and not_before <= now() for update skip locked
         )
         update job set state = 'running', attempt = attempt + 1, runner = $1, lease_until = now() + $2,
             started_at = now(), log_length = 0, output_read = 0, stop = null, reason = null, exit_status = null,
             wait_reason = null, only_once = null, warning = null
         from next where job.id = next.id
         returning ",
        claimed_columns!(),
        ", $4::text[] as gpus, 0::float8 as age",
    ))
    .bind(runner)
    .bind(lease)
    .bind(waiting[place].id)
    .bind(&chosen)
    .fetch_optional(&mut *tx)
    .await?;
    let Some(job) = claimed else { return Ok(None) };
    let leased = sqlx::query(
        "update gpu set state = 'held', job_id = $2, attempt = $3, since = now()
         where uuid = any($1) and runner = $4 and state = 'free'",
    )
    .bind(&chosen)
    .bind(job.id)
    .bind(job.attempt)
    .bind(runner)
    .execute(&mut *tx)
    .await?;
    if leased.rows_affected() != chosen.len() as u64 {
        // The transaction is rolled back, and with it the claim.
        return Ok(None);
    }
    if !chosen.is_empty() {
        budgets::begin_use(&mut tx, job.attempt_id(), chosen.len()).await?;
    }
    rollup::refresh(&mut tx, job.build_id).await?;
    tx.commit().await?;
    Ok(Some(job))
}

/// Lists the first jobs of the queue that the runner could run with all of its GPUs, as if each job before it had begun.
/// Those that budgets hold are not among them.
async fn candidates(
    db: impl PgExecutor<'_>,
    runner: &str,
    bounds: Bounds,
    used_up: &UsedUp,
) -> sqlx::Result<Vec<Candidate>> {
    sqlx::query_as(concat!(
        lanes!(),
        ", ",
        shares!(),
        " select id, build_id, share.repo_id, null as person, gpu_count, gpu_memory, gpu_class, labels, wait_reason, preemptible,
             false as is_long_queued
         from share, lateral (
             select job.*, row_number() over (order by preemptible, priority desc, id) as place
             from job join runner on runner.name = $5
             where state = 'queued' and has_requirements and not_before <= now() and job.labels <@ runner.labels
                 and job.repo_id = share.repo_id and priority >= $2
                 and (gpu_count = 0 or gpu_count <= (
                     select count(*) from gpu where gpu.runner = $5 and gpu.memory >= job.gpu_memory
                         and (job.gpu_class is null or gpu.class = job.gpu_class)))
                 and not ",
        held!(),
        "
             order by preemptible, priority desc, id limit $6
         ) job
         where most is null or running < most
         order by preemptible, running + place, ",
        turn!(),
        ", share.repo_id limit $6",
    ))
    .bind(bounds.most)
    .bind(bounds.floor)
    .bind(used_up.repos())
    .bind(used_up.people())
    .bind(runner)
    .bind(MAX_CANDIDATES)
    .fetch_all(db)
    .await
}

/// Locks the runner's GPUs, marks the jobs that are preempted, and returns the index of the job that can begin, with
/// its GPUs.
async fn chosen_of(
    tx: &mut PgConnection,
    runner: &str,
    waiting: &[Candidate],
) -> sqlx::Result<Option<(usize, Vec<String>)>> {
    // Claims of one runner run one after the other. A claim does not wait for a job's row while it holds these locks:
    // the end of an attempt locks its job first and then waits for these locks, so the two would deadlock.
    sqlx::query("select 1 from gpu where runner = $1 order by uuid for update").bind(runner).execute(&mut *tx).await?;
    let gpus = gpus::of_runner(tx, runner).await?;
    let requests: Vec<Option<GpuRequest>> = waiting.iter().map(Candidate::request).collect();
    let candidates: Vec<gpu::Candidate<'_>> = waiting
        .iter()
        .zip(&requests)
        .map(|(job, request)| gpu::Candidate { request: request.as_ref(), preemptible: job.preemptible })
        .collect();
    let choice = choose(&gpus, &candidates);
    for (holder, place) in choice.preempt {
        mark_preempted(tx, holder, waiting[place].id, runner).await?;
    }
    Ok(choice.begins)
}

/// Marks the jobs that are preempted by a waiting job while all slots of the runner are taken: a slot becomes free by
/// that too.
pub async fn mark_preemptions(db: &PgPool, runner: &str, limits: &QueueConfig) -> sqlx::Result<()> {
    let used_up = UsedUp::read(db).await?;
    let (mut tx, bounds) = limits.begin(db).await?;
    let waiting = candidates(&mut *tx, runner, bounds, &used_up).await?;
    if waiting.iter().any(|job| !job.preemptible && job.gpu_count > 0) {
        chosen_of(&mut tx, runner, &waiting).await?;
        tx.commit().await?;
    }
    Ok(())
}

/// Marks a running job as preempted by a waiting one, unless that gets its GPUs from another runner. A job whose row
/// another transaction has locked is skipped: the next check marks it.
async fn mark_preempted(tx: &mut PgConnection, attempt: AttemptId, waiting: JobId, runner: &str) -> sqlx::Result<()> {
    sqlx::query(
        "with holder as (
             select id from job where id = $1 and attempt = $2 and state = 'running' and preempted_by is null
                 and not exists (
                     select from job other
                     where other.state = 'running' and other.preempted_by = $3 and other.runner <> $4)
             for update skip locked
         )
         update job set preempted_by = $3 from holder where job.id = holder.id",
    )
    .bind(attempt.job)
    .bind(attempt.number)
    .bind(waiting)
    .bind(runner)
    .execute(tx)
    .await?;
    Ok(())
}

/// Updates the wait reason of each queued job with requirements, on its page and in its build's status. A job whose
/// requirements no runner can meet is errored after `patience`. Returns the jobs whose reason has changed.
pub async fn update_wait_reasons(db: &PgPool, patience: Duration) -> sqlx::Result<Vec<JobId>> {
    let waiting: Vec<Candidate> = sqlx::query_as(concat!(
        lanes!(),
        " select job.id, build_id, job.repo_id, ",
        person!(),
        " as person, gpu_count, gpu_memory, gpu_class, labels, wait_reason, preemptible,
             not_before < now() - $2 as is_long_queued
         from lane, lateral (
             select job.*, row_number() over (order by preemptible, priority desc, id) as place
             from job where state = 'queued' and has_requirements and job.repo_id = lane.repo_id
             order by preemptible, priority desc, id limit $1
         ) job join build on build.id = build_id join repo on repo.id = job.repo_id
         order by place, priority desc, job.id limit $1",
    ))
    .bind(MAX_REPORTED)
    .bind(patience)
    .fetch_all(db)
    .await?;
    if waiting.is_empty() {
        return Ok(Vec::new());
    }
    let (runners, used_up) = (runners(db).await?, UsedUp::read(db).await?);
    let mut told = Vec::new();
    for job in waiting {
        let held = used_up.reason(job.repo_id, job.person.as_deref()).filter(|_| job.gpu_count > 0);
        let wait = held.map(Wait::For).or_else(|| wait_of(&job, &runners));
        let words = wait.as_ref().map(|(Wait::For(words) | Wait::Never(words))| words.as_str());
        let is_hopeless = job.is_long_queued && matches!(wait, Some(Wait::Never(_)));
        if (is_hopeless || job.wait_reason.as_deref() != words) && tell(db, &job, words, is_hopeless).await? {
            told.push(job.id);
        }
    }
    Ok(told)
}

/// Lists the labels and GPUs of each runner that was seen within the last hour: jobs wait for a machine that restarts.
async fn runners(db: &PgPool) -> sqlx::Result<Vec<(Vec<String>, Vec<Gpu>)>> {
    let named: Vec<(String, Vec<String>)> =
        sqlx::query_as("select name, labels from runner where seen_at > now() - interval '1 h' order by name")
            .fetch_all(db)
            .await?;
    let mut connection = db.acquire().await?;
    let mut runners = Vec::new();
    for (name, labels) in named {
        runners.push((labels, gpus::of_runner(&mut connection, &name).await?));
    }
    Ok(runners)
}

fn wait_of(job: &Candidate, runners: &[(Vec<String>, Vec<Gpu>)]) -> Option<Wait> {
    let has_all = |labels: &[String]| job.labels.iter().all(|label| labels.contains(label));
    let fit: Vec<Vec<Gpu>> =
        runners.iter().filter(|(labels, _)| has_all(labels)).map(|(_, gpus)| gpus.clone()).collect();
    if fit.is_empty() {
        return Some(Wait::Never(format!("no runner has the labels that it needs: {}", job.labels.join(", "))));
    }
    wait_in_words(&job.request()?, &fit)
}

async fn tell(db: &PgPool, job: &Candidate, words: Option<&str>, is_hopeless: bool) -> sqlx::Result<bool> {
    let mut tx = db.begin().await?;
    let told = sqlx::query(
        "update job set
             state = case when $3 then 'finished' else 'queued' end::job_state,
             verdict = case when $3 then 'errored' end::verdict,
             finished_at = case when $3 then now() end,
             reason = case when $3 then $2 else reason end,
             wait_reason = case when $3 then null else $2 end
         where id = $1 and state = 'queued'",
    )
    .bind(job.id)
    .bind(words)
    .bind(is_hopeless)
    .execute(&mut *tx)
    .await?;
    if told.rows_affected() == 0 {
        return Ok(false);
    }
    rollup::refresh(&mut tx, job.build_id).await?;
    tx.commit().await?;
    Ok(true)
}
