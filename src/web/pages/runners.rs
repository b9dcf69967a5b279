//! `/runners`: the runners with their slots and GPUs, the holders of these, the jobs that wait for more than a slot, and
//! the others in the order of the queue.

use std::collections::HashMap;

use askama::Template;
use axum::extract;
use bytesize::ByteSize;
use chrono::{DateTime, Utc};
use sqlx::PgPool;

use super::{Chrome, Page, render};
use crate::domain::{GpuState, JobId};
use crate::store::queue::{self, QueuedJob};
use crate::web::State;
use crate::web::access::{Sight, View};
use crate::web::error::Error;
use crate::web::show::{Mark, When};

/// Maximum number of jobs in each list.
const WAITING: i64 = 50;
/// Time without a sign of life after which a runner is shown as away.
const SILENCE: chrono::TimeDelta = chrono::TimeDelta::seconds(60);

#[derive(sqlx::FromRow)]
pub(in crate::web) struct RunnerRow {
    pub(in crate::web) name: String,
    pub(in crate::web) endpoint: String,
    pub(in crate::web) slots: i32,
    pub(in crate::web) labels: Vec<String>,
    pub(in crate::web) host: Option<String>,
    pub(in crate::web) alert: Option<String>,
    pub(in crate::web) seen_at: DateTime<Utc>,
    pub(in crate::web) running: i64,
}

/// The columns of a job that a link to it needs.
#[derive(sqlx::FromRow)]
pub(in crate::web) struct JobLink {
    pub(in crate::web) owner: Option<String>,
    pub(in crate::web) repo: Option<String>,
    pub(in crate::web) build: Option<i32>,
    pub(in crate::web) job: Option<i32>,
}

#[derive(sqlx::FromRow)]
pub(in crate::web) struct GpuRow {
    pub(in crate::web) runner: String,
    pub(in crate::web) uuid: String,
    pub(in crate::web) name: String,
    pub(in crate::web) class: String,
    pub(in crate::web) memory: i64,
    pub(in crate::web) state: GpuState,
    pub(in crate::web) reason: Option<String>,
    pub(in crate::web) since: DateTime<Utc>,
    #[sqlx(flatten)]
    pub(in crate::web) holder: JobLink,
}

#[derive(sqlx::FromRow)]
struct WaitingJob {
    #[sqlx(flatten)]
    job: JobLink,
    wait_reason: String,
    created_at: DateTime<Utc>,
}

/// A job of the queue.
struct NextJob {
    job: JobLink,
    /// Rank in its repository, in words.
    rank: String,
    /// Number of running jobs of its repository.
    running: i64,
    is_held: bool,
    created_at: DateTime<Utc>,
}

pub(in crate::web) struct Runner {
    pub(in crate::web) row: RunnerRow,
    pub(in crate::web) gpus: Vec<GpuRow>,
}

#[derive(Template)]
#[template(path = "runners.html")]
struct Runners {
    chrome: Chrome,
    runners: Vec<Runner>,
    waiting: Vec<WaitingJob>,
    queue: Vec<NextJob>,
}

pub(in crate::web) async fn page(extract::State(state): extract::State<State>, view: View) -> Result<Page, Error> {
    let sight = view.sight().await?;
    let runners = runners(&state.db, &sight).await?;
    // In the order of the claims, as far as their requirements let them begin.
    let waiting = sqlx::query_as(
        "select owner, repo.name as repo, build.number as build, job.number as job, wait_reason, job.created_at
         from (
             select *, row_number() over (partition by repo_id order by preemptible, priority desc, id) as place
             from job where state = 'queued' and has_requirements
         ) job join build on build.id = build_id join repo on repo.id = build.repo_id
         where wait_reason is not null and ($2 or not private or repo.id = any($3))
         order by preemptible, place + (
             select count(*) from job running where running.state = 'running' and running.repo_id = job.repo_id
         ), priority desc, served_at nulls first, repo.id limit $1",
    )
    .bind(WAITING)
    .bind(sight.everything)
    .bind(&sight.repos)
    .fetch_all(&state.db)
    .await?;
    let queue = in_order(&state, &sight).await?;
    let chrome = Chrome::load(&state, &view, true).await?;
    render(&Runners { chrome, runners, waiting, queue })
}

/// Lists the jobs that wait for a slot only, in the order of their claims, which is the store's knowledge.
async fn in_order(state: &State, sight: &Sight) -> sqlx::Result<Vec<NextJob>> {
    let order = queue::order(&state.db, &state.queue, WAITING).await?;
    let ids: Vec<JobId> = order.iter().map(|job| job.id).collect();
    let named: Vec<(JobId, String, String, i32, i32)> = sqlx::query_as(
        "select job.id, owner, repo.name, build.number, job.number
         from job join build on build.id = build_id join repo on repo.id = build.repo_id
         where job.id = any($1) and ($2 or not private or repo.id = any($3))",
    )
    .bind(&ids)
    .bind(sight.everything)
    .bind(&sight.repos)
    .fetch_all(&state.db)
    .await?;
    let mut links: HashMap<JobId, JobLink> = named
        .into_iter()
        .map(|(id, owner, repo, build, job)| {
            (id, JobLink { owner: Some(owner), repo: Some(repo), build: Some(build), job: Some(job) })
        })
        .collect();
    let next = |queued: QueuedJob| {
        let QueuedJob { id, priority, running, is_held, created_at, .. } = queued;
        Some(NextJob { job: links.remove(&id)?, rank: priority.to_string(), running, is_held, created_at })
    };
    Ok(order.into_iter().filter_map(next).collect())
}

pub(in crate::web) async fn runners(db: &PgPool, sight: &Sight) -> sqlx::Result<Vec<Runner>> {
    let rows: Vec<RunnerRow> = sqlx::query_as(
        "select name, endpoint, slots, labels, host, seen_at,
             (select message from alert where component = 'runner ' || runner.name) as alert,
             (select count(*) from job where state = 'running' and job.runner = runner.name) as running
         from runner order by name",
    )
    .fetch_all(db)
    .await?;
    let mut gpus: Vec<GpuRow> = sqlx::query_as(
        "select gpu.runner, uuid, gpu.name, class, memory, gpu.state, gpu.reason, since,
             owner, repo.name as repo, build.number as build, job.number as job
         from gpu left join job on job.id = job_id left join build on build.id = build_id
             left join repo on repo.id = build.repo_id and ($1 or not private or repo.id = any($2))
         order by gpu.name, uuid",
    )
    .bind(sight.everything)
    .bind(&sight.repos)
    .fetch_all(db)
    .await?;
    let with_gpus = |row: RunnerRow| {
        let (its, others) = std::mem::take(&mut gpus).into_iter().partition(|gpu| gpu.runner == row.name);
        gpus = others;
        Runner { row, gpus: its }
    };
    Ok(rows.into_iter().map(with_gpus).collect())
}

impl JobLink {
    /// Returns the path and the name of the job.
    pub(in crate::web) fn link(&self) -> Option<(String, String)> {
        let Self { owner: Some(owner), repo: Some(repo), build: Some(build), job: Some(job) } = self else {
            return None;
        };
        Some((format!("/{owner}/{repo}/builds/{build}/jobs/{job}"), format!("{owner}/{repo} #{build}.{job}")))
    }
}

impl Runner {
    pub(in crate::web) fn is_away(&self) -> bool {
        Utc::now() - self.row.seen_at > SILENCE
    }

    fn seen(&self) -> When {
        When::new(self.row.seen_at)
    }
}

impl GpuRow {
    fn mark(&self) -> Mark {
        self.state.into()
    }

    fn size(&self) -> String {
        match u64::try_from(self.memory) {
            Ok(bytes) if bytes > 0 => ByteSize::b(bytes).to_string(),
            _ => "–".to_owned(),
        }
    }

    fn when(&self) -> When {
        When::new(self.since)
    }
}

impl NextJob {
    fn when(&self) -> When {
        When::new(self.created_at)
    }
}

impl WaitingJob {
    fn when(&self) -> When {
        When::new(self.created_at)
    }
}
