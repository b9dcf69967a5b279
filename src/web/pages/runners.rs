//! `/runners`: the runners with their slots and GPUs, the holders of these, and the jobs that wait for more than a
//! slot.

use askama::Template;
use axum::extract;
use bytesize::ByteSize;
use chrono::{DateTime, Utc};
use sqlx::PgPool;

use super::{Chrome, Page, render};
use crate::domain::GpuState;
use crate::web::State;
use crate::web::error::Error;
use crate::web::show::{Mark, When};

/// Maximum number of waiting jobs that are listed.
const WAITING: i64 = 50;
/// Time without a sign of life after which a runner is shown as away.
const SILENCE: chrono::TimeDelta = chrono::TimeDelta::seconds(60);

#[derive(sqlx::FromRow)]
struct RunnerRow {
    name: String,
    endpoint: String,
    slots: i32,
    labels: Vec<String>,
    host: Option<String>,
    alert: Option<String>,
    seen_at: DateTime<Utc>,
    running: i64,
}

/// The columns of a job that a link to it needs.
#[derive(sqlx::FromRow)]
struct JobLink {
    owner: Option<String>,
    repo: Option<String>,
    build: Option<i32>,
    job: Option<i32>,
}

#[derive(sqlx::FromRow)]
struct GpuRow {
    runner: String,
    uuid: String,
    name: String,
    class: String,
    memory: i64,
    state: GpuState,
    reason: Option<String>,
    since: DateTime<Utc>,
    #[sqlx(flatten)]
    holder: JobLink,
}

#[derive(sqlx::FromRow)]
struct WaitingJob {
    #[sqlx(flatten)]
    job: JobLink,
    wait_reason: String,
    created_at: DateTime<Utc>,
}

struct Runner {
    row: RunnerRow,
    gpus: Vec<GpuRow>,
}

#[derive(Template)]
#[template(path = "runners.html")]
struct Runners {
    chrome: Chrome,
    runners: Vec<Runner>,
    waiting: Vec<WaitingJob>,
}

pub(in crate::web) async fn page(extract::State(state): extract::State<State>) -> Result<Page, Error> {
    let runners = runners(&state.db).await?;
    let waiting = sqlx::query_as(
        "select owner, repo.name as repo, build.number as build, job.number as job, wait_reason, job.created_at
         from job join build on build.id = build_id join repo on repo.id = repo_id
         where job.state = 'queued' and has_requirements and wait_reason is not null order by priority desc, job.id limit $1",
    )
    .bind(WAITING)
    .fetch_all(&state.db)
    .await?;
    let chrome = Chrome::load(&state.db, true).await?;
    render(&Runners { chrome, runners, waiting })
}

async fn runners(db: &PgPool) -> sqlx::Result<Vec<Runner>> {
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
         from gpu left join job on job.id = job_id left join build on build.id = build_id left join repo on repo.id = repo_id
         order by gpu.name, uuid",
    )
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
    fn link(&self) -> Option<(String, String)> {
        let Self { owner: Some(owner), repo: Some(repo), build: Some(build), job: Some(job) } = self else {
            return None;
        };
        Some((format!("/{owner}/{repo}/builds/{build}/jobs/{job}"), format!("{owner}/{repo} #{build}.{job}")))
    }
}

impl Runner {
    fn is_away(&self) -> bool {
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

impl WaitingJob {
    fn when(&self) -> When {
        When::new(self.created_at)
    }
}
