//! `/runners`: the runners with their slots and GPUs, the holders of these, the jobs that wait for more than a slot, the
//! others in the order of the queue, and the use of budgets.

use std::collections::HashMap;

use askama::Template;
use axum::extract;
use bytesize::ByteSize;
use chrono::{DateTime, Utc};
use sqlx::PgPool;

use super::{Chrome, Page, render};
use crate::domain::{GpuState, JobId, RepoId, roughly};
use crate::store::queue::{self, InLine};
use crate::store::runner::budgets::{self, BudgetUse};
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

/// A job that waits for more than a slot.
struct WaitingJob {
    job: JobLink,
    wait_reason: String,
    line: InLine,
}

/// A job that waits for a slot.
struct NextJob {
    job: JobLink,
    line: InLine,
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
    budgets: Vec<BudgetUse>,
}

pub(in crate::web) async fn page(extract::State(state): extract::State<State>, view: View) -> Result<Page, Error> {
    let sight = view.sight().await?;
    let runners = runners(&state.db, &sight).await?;
    let (waiting, queue) = in_line(&state, &sight).await?;
    let chrome = Chrome::load(&state, &view, true).await?;
    let budgets = budgets(&state.db, &view, &sight).await?;
    render(&Runners { chrome, runners, waiting, queue, budgets })
}

/// Lists the jobs that wait for more than a slot, with the reasons, and those that wait for a slot only. Both come in the
/// order of their claims, which is the store's knowledge.
async fn in_line(state: &State, sight: &Sight) -> sqlx::Result<(Vec<WaitingJob>, Vec<NextJob>)> {
    let lines = queue::lines(&state.db, &state.queue, WAITING).await?;
    let ids: Vec<JobId> = lines.iter().map(|job| job.id).collect();
    let named: Vec<(JobId, String, String, i32, i32, Option<String>)> = sqlx::query_as(
        "select job.id, owner, repo.name, build.number, job.number, wait_reason
         from job join build on build.id = build_id join repo on repo.id = build.repo_id
         where job.id = any($1) and ($2 or not private or repo.id = any($3))",
    )
    .bind(&ids)
    .bind(sight.everything)
    .bind(&sight.repos)
    .fetch_all(&state.db)
    .await?;
    let mut links: HashMap<JobId, (JobLink, Option<String>)> = named
        .into_iter()
        .map(|(id, owner, repo, build, job, reason)| {
            let link = JobLink { owner: Some(owner), repo: Some(repo), build: Some(build), job: Some(job) };
            (id, (link, reason))
        })
        .collect();
    let (mut waiting, mut next) = (Vec::new(), Vec::new());
    for line in lines {
        let Some((job, wait_reason)) = links.remove(&line.id) else { continue };
        if line.has_requirements {
            waiting.extend(wait_reason.map(|wait_reason| WaitingJob { job, wait_reason, line }));
        } else {
            next.push(NextJob { job, line });
        }
    }
    Ok((waiting, next))
}

/// Lists the uses of budgets that a viewer may see: those of repositories in sight, and of people for operators and for
/// the person alone.
pub(in crate::web) async fn budgets(db: &PgPool, view: &View, sight: &Sight) -> sqlx::Result<Vec<BudgetUse>> {
    let mut uses = budgets::budget_uses(db).await?;
    let public: Vec<RepoId> = sqlx::query_scalar("select id from repo where id = any($1) and not private")
        .bind(uses.iter().filter_map(|used| used.repo).collect::<Vec<_>>())
        .fetch_all(db)
        .await?;
    let login = view.viewer.login();
    uses.retain(|used| match used.repo {
        _ if sight.everything => true,
        Some(repo) => sight.repos.contains(&repo) || public.contains(&repo),
        None => login.is_some_and(|login| login.eq_ignore_ascii_case(&used.name)),
    });
    Ok(uses)
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

impl WaitingJob {
    fn when(&self) -> When {
        When::new(self.line.created_at)
    }

    fn begins(&self) -> String {
        begins(&self.line)
    }
}

impl NextJob {
    fn when(&self) -> When {
        When::new(self.line.created_at)
    }

    fn begins(&self) -> String {
        begins(&self.line)
    }
}

/// Returns when a job begins, for people.
pub(super) fn begins(line: &InLine) -> String {
    match line.begins_in {
        None => "–".to_owned(),
        Some(wait) if wait.as_secs() < 60 => "within a minute".to_owned(),
        Some(wait) => format!("in {}", roughly(wait)),
    }
}
