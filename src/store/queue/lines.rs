//! The places of waiting jobs in the two lines of the queue, and a forecast of when they begin.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use super::estimates::estimates;
use super::progress::seconds_left;
use super::requirements::{held, lanes};
use super::turn::{QueueConfig, QueuedJob, order, shares, turn};
use crate::domain::{GpuRequest, JobId, Priority, RepoId};
use crate::gpu::{Active, Card, Machine, Waiting, World, forecast};
use crate::store::runner::budgets::UsedUp;
use crate::store::runner::gpus::{self, Usable};

/// The part of its usual time that a job is taken to need which has taken longer than that already.
const OVERTIME: u32 = 10;

/// A job of the queue in its line: that of the jobs with requirements, which runners look at first, or that of all others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InLine {
    pub id: JobId,
    pub has_requirements: bool,
    /// Place in its line, from 1.
    pub place: i64,
    pub priority: Priority,
    /// Number of running jobs of its repository, counted to 32.
    pub running: i64,
    /// True when a limit or a budget keeps it from its slot.
    pub is_held: bool,
    pub created_at: DateTime<Utc>,
    /// Time until it begins, if that can be foreseen.
    pub begins_in: Option<Duration>,
}

impl InLine {
    /// Returns the time at which the job begins, if that can be foreseen.
    pub fn begins_at(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        now.checked_add_signed(chrono::TimeDelta::from_std(self.begins_in?).ok()?)
    }
}

/// A queued job with requirements.
#[derive(sqlx::FromRow)]
struct Demanding {
    id: JobId,
    repo_id: RepoId,
    priority: Priority,
    running: i64,
    most: Option<i64>,
    is_held: bool,
    is_over_budget: bool,
    created_at: DateTime<Utc>,
    gpu_count: i32,
    gpu_memory: i64,
    gpu_class: Option<String>,
    labels: Vec<String>,
    preemptible: bool,
}

#[derive(sqlx::FromRow)]
struct Running {
    id: JobId,
    repo_id: RepoId,
    runner: String,
    priority: Priority,
    preemptible: bool,
    /// Time since its start, in seconds.
    ran: f64,
    /// Time that its steps still take, in seconds.
    left: Option<f64>,
}

/// Lists the first `most` jobs of each line, those with requirements first, in the order in which they would be claimed if
/// none came meanwhile. Jobs that are held come last.
pub async fn lines(db: &PgPool, limits: &QueueConfig, most: i64) -> sqlx::Result<Vec<InLine>> {
    let demanding = demanding(db, limits, most).await?;
    let others = order(db, limits, most).await?;
    let running = running(db).await?;
    let ids = demanding.iter().map(|job| job.id).chain(others.iter().map(|job| job.id));
    let ids: Vec<JobId> = ids.chain(running.iter().map(|job| job.id)).collect();
    let takes = estimates(db, &ids).await?;
    let runners: Vec<(String, i32, Vec<String>)> =
        sqlx::query_as("select name, slots, labels from runner where seen_at > now() - interval '1 min' order by name")
            .fetch_all(db)
            .await?;
    let forks = usize::try_from(limits.slots_for_forks).ok().filter(|forks| *forks > 0);
    let world = World { most_forks: forks, ..world(runners, gpus::usable(db).await?, running, &takes) };
    let mut jobs: Vec<(InLine, Option<Waiting>)> = Vec::new();
    jobs.extend((1..).zip(demanding).map(|(place, job)| job.in_line(place, &takes)));
    jobs.extend((1..).zip(others).map(|(place, job)| plain_in_line(place, &job, &takes)));
    let waiting: Vec<Waiting> = jobs.iter().filter_map(|(_, waiting)| waiting.clone()).collect();
    let mut begins = forecast(world, &waiting).into_iter();
    let foreseen = jobs
        .into_iter()
        .map(|(job, waiting)| InLine { begins_in: waiting.and_then(|_| begins.next()).flatten(), ..job });
    Ok(foreseen.collect())
}

async fn demanding(db: &PgPool, limits: &QueueConfig, most: i64) -> sqlx::Result<Vec<Demanding>> {
    let used_up = UsedUp::read(db).await?;
    let mut connection = db.acquire().await?;
    let bounds = limits.bounds(&mut connection).await?;
    sqlx::query_as(concat!(
        lanes!(),
        ", ",
        shares!(),
        ", listed as (
             select job.*, running, most, served_at, ",
        held!(),
        " as is_over_budget, priority < $2 or coalesce(running + place > most, false) as is_held
             from share, lateral (
                 select id, build_id, repo_id, priority, created_at, gpu_count, gpu_memory, gpu_class, labels, preemptible,
                     row_number() over (order by preemptible, priority desc, id) as place
                 from job
                 where state = 'queued' and has_requirements and not_before <= now() and job.repo_id = share.repo_id
                 order by preemptible, priority desc, id limit $5
             ) job
         )
         select id, repo_id, priority, running, most, is_held, is_over_budget, created_at, gpu_count, gpu_memory, gpu_class,
             labels, preemptible
         from listed order by is_over_budget, is_held, preemptible, running + place, ",
        turn!(),
        ", repo_id limit $5",
    ))
    .bind(bounds.most)
    .bind(bounds.floor)
    .bind(used_up.repos())
    .bind(used_up.people())
    .bind(most)
    .fetch_all(&mut *connection)
    .await
}

async fn running(db: &PgPool) -> sqlx::Result<Vec<Running>> {
    sqlx::query_as(concat!(
        "select job.id, repo_id, runner, priority, preemptible, extract(epoch from now() - started_at)::float8 as ran, ",
        seconds_left!(),
        " as left
         from job left join progress on job_id = job.id and progress.attempt = job.attempt
         where job.state = 'running' order by job.id",
    ))
    .fetch_all(db)
    .await
}

/// Puts the runners with their GPUs and the running jobs together.
fn world(
    runners: Vec<(String, i32, Vec<String>)>,
    gpus: Vec<Usable>,
    running: Vec<Running>,
    takes: &HashMap<JobId, Duration>,
) -> World {
    let places: HashMap<JobId, usize> = running.iter().enumerate().map(|(place, job)| (job.id, place)).collect();
    let (mut names, mut machines) = (Vec::new(), Vec::new());
    for (name, slots, labels) in runners {
        names.push(name);
        machines.push(Machine { slots: usize::try_from(slots).unwrap_or(0), labels, cards: Vec::new() });
    }
    for Usable { runner, memory, class, job_id } in gpus {
        if let Some(place) = names.iter().position(|name| *name == runner) {
            let holder = job_id.and_then(|job| places.get(&job)).copied();
            machines[place].cards.push(Card { memory, class, holder });
        }
    }
    let mut active = Vec::new();
    for Running { id, repo_id: repo, runner, priority, preemptible, ran, left } in running {
        // A runner that is away has no free slots, but its jobs count for their repositories.
        let machine = names.iter().position(|name| *name == runner).unwrap_or_else(|| {
            names.push(runner);
            machines.push(Machine::default());
            machines.len() - 1
        });
        let by_runs = || {
            let usual = *takes.get(&id)?;
            let ran = Duration::try_from_secs_f64(ran.max(0.0)).ok()?;
            Some(usual.checked_sub(ran).unwrap_or(usual / OVERTIME))
        };
        let left = left.and_then(|left| Duration::try_from_secs_f64(left).ok()).or_else(by_runs);
        active.push(Active { machine, repo, is_fork: priority == Priority::Fork, preemptible, left });
    }
    World { machines, active, most_forks: None }
}

impl Demanding {
    /// Returns the job in its line, and what the forecast needs of it. A job that a budget holds does not begin.
    fn in_line(self, place: i64, takes: &HashMap<JobId, Duration>) -> (InLine, Option<Waiting>) {
        let Self { id, repo_id, priority, running, most, is_held, is_over_budget, created_at, .. } = self;
        let class = self.gpu_class;
        let waiting = Waiting {
            repo: repo_id,
            is_fork: priority == Priority::Fork,
            preemptible: self.preemptible,
            request: (self.gpu_count > 0).then_some(GpuRequest {
                count: self.gpu_count,
                memory: self.gpu_memory,
                class,
            }),
            labels: self.labels,
            most: most.and_then(|most| usize::try_from(most).ok()),
            takes: takes.get(&id).copied(),
        };
        let is_held = is_held || is_over_budget;
        let job = InLine { id, has_requirements: true, place, priority, running, is_held, created_at, begins_in: None };
        (job, (!is_over_budget).then_some(waiting))
    }
}

fn plain_in_line(place: i64, job: &QueuedJob, takes: &HashMap<JobId, Duration>) -> (InLine, Option<Waiting>) {
    let QueuedJob { id, repo_id, priority, running, most, is_held, created_at } = *job;
    let waiting = Waiting {
        repo: repo_id,
        is_fork: priority == Priority::Fork,
        preemptible: false,
        request: None,
        labels: Vec::new(),
        most: most.and_then(|most| usize::try_from(most).ok()),
        takes: takes.get(&id).copied(),
    };
    let job = InLine { id, has_requirements: false, place, priority, running, is_held, created_at, begins_in: None };
    (job, Some(waiting))
}
