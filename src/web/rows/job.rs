//! Rows of jobs.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgPool;
use utoipa::ToSchema;

use super::build::{Build, of_job};
use crate::domain::{AttemptId, BuildId, JobId, JobKind, JobState, Verdict, roughly};
use crate::lora::series::Point;
use crate::store::queue::{self, InLine, Progress};
use crate::web::State;
use crate::web::error::Error;
use crate::web::job_title::{Titled, titles};
use crate::web::show::{Mark, took};

/// Number of jobs of each line of the queue among which a place is looked for.
const FORESEEN: i64 = 500;

#[derive(Debug, Clone, Serialize, ToSchema, sqlx::FromRow)]
#[schema(as = JobFacts)]
pub(in crate::web) struct Job {
    pub id: JobId,
    pub number: i32,
    pub kind: JobKind,
    pub stage: Option<String>,
    pub name: Option<String>,
    pub allow_failure: bool,
    pub state: JobState,
    pub verdict: Option<Verdict>,
    pub reason: Option<String>,
    /// Reason why the job waits, if it waits for more than a slot.
    pub wait_reason: Option<String>,
    /// A text that the author should know of the latest attempt, whatever its verdict.
    pub warning: Option<String>,
    pub exit_status: Option<i64>,
    pub attempt: i32,
    pub runner: Option<String>,
    pub log_length: i64,
    pub created_at: DateTime<Utc>,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
    /// The job as `.travis.yml` says it, after the expansion of the matrix.
    #[schema(value_type = Object)]
    pub config: Value,
    /// Title that distinguishes the job from the others of its build.
    #[sqlx(skip)]
    pub title: String,
    /// Place of a running training in its steps.
    #[sqlx(skip)]
    pub progress: Option<JobProgress>,
    /// Time that an unfinished job takes, in seconds: the median of its last runs that have passed. Null without any.
    #[sqlx(skip)]
    pub expected_seconds: Option<u64>,
    /// Time until the end of a running job, in seconds, by its steps or else by its last runs.
    #[sqlx(skip)]
    pub seconds_left: Option<u64>,
    /// The same in words, such as `step 120 of 400, loss 0.08, 6 min left`.
    #[sqlx(skip)]
    pub outlook: Option<String>,
}

/// Place of a running training in its steps.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(in crate::web) struct JobProgress {
    /// The last step, as the log says.
    pub step: u64,
    /// Total number of steps, if it is known.
    pub steps: Option<u64>,
    /// The last loss.
    pub loss: Option<Point>,
}

impl Job {
    pub(in crate::web) fn attempt_id(&self) -> AttemptId {
        AttemptId { job: self.id, number: self.attempt }
    }
}

/// Columns of the present run of a job: after a restart, it has no attempt and no log until it is claimed.
macro_rules! run_columns {
    () => {
        "case when attempt > earlier_attempts then attempt else 0 end as attempt,
             case when attempt > earlier_attempts then log_length else 0 end as log_length"
    };
}

/// Lists the jobs of a build, in order.
pub(in crate::web) async fn jobs(db: &PgPool, build: BuildId) -> sqlx::Result<Vec<Job>> {
    let mut jobs: Vec<Job> = sqlx::query_as(concat!(
        "select id, number, kind, stage, name, allow_failure, state, verdict, reason, wait_reason, warning, exit_status,
                 runner, created_at, started_at, finished_at, config, ",
        run_columns!(),
        " from job where build_id = $1 order by number",
    ))
    .bind(build)
    .fetch_all(db)
    .await?;
    let titled: Vec<Titled<'_>> =
        jobs.iter().map(|job| Titled { kind: job.kind, name: job.name.as_deref(), config: &job.config }).collect();
    let titles = titles(&titled);
    for (job, title) in jobs.iter_mut().zip(titles) {
        job.title = title;
    }
    look_ahead(db, build, &mut jobs).await?;
    Ok(jobs)
}

/// Fills in how far the unfinished jobs of a build are, and how long they take.
async fn look_ahead(db: &PgPool, build: BuildId, jobs: &mut [Job]) -> sqlx::Result<()> {
    let unfinished: Vec<JobId> = jobs.iter().filter(|job| job.state != JobState::Finished).map(|job| job.id).collect();
    if unfinished.is_empty() {
        return Ok(());
    }
    let mut progress = queue::progress_of(&mut *db.acquire().await?, build).await?;
    let estimates = queue::estimates(db, &unfinished).await?;
    let now = Utc::now();
    for job in jobs.iter_mut().filter(|job| job.state != JobState::Finished) {
        let expected = estimates.get(&job.id).copied();
        job.expected_seconds = expected.map(|time| time.as_secs());
        if job.state != JobState::Running {
            job.outlook = expected.map(|time| format!("usually takes {}", roughly(time)));
            continue;
        }
        // A job that takes longer than its last runs did tells nothing about its end.
        let ran = job.started_at.and_then(|started| (now - started).to_std().ok());
        let by_runs = expected.zip(ran).and_then(|(expected, ran)| expected.checked_sub(ran));
        let place = progress.remove(&job.id).map(|place| Progress { left: place.left.or(by_runs), ..place });
        let left = place.map_or(by_runs, |place| place.left);
        job.seconds_left = left.map(|left| left.as_secs());
        job.outlook =
            place.map(|place| place.in_words()).or_else(|| left.map(|left| format!("{} left", roughly(left))));
        job.progress = place.map(|Progress { step, steps, loss, .. }| JobProgress { step, steps, loss });
    }
    Ok(())
}

/// Finds a job of a build. Its title needs the other jobs, too.
pub(in crate::web) async fn job(db: &PgPool, build: BuildId, number: &str) -> Result<Job, Error> {
    let number: i32 = number.parse().map_err(|_| Error::NotFound("job"))?;
    jobs(db, build).await?.into_iter().find(|job| job.number == number).ok_or(Error::NotFound("job"))
}

/// Finds the place of a queued job in its line. Returns `None` for any other job, and for one far behind.
pub(in crate::web) async fn in_line(state: &State, job: &Job) -> sqlx::Result<Option<InLine>> {
    if job.state != JobState::Queued {
        return Ok(None);
    }
    let lines = queue::lines(&state.db, &state.queue, FORESEEN).await?;
    Ok(lines.into_iter().find(|line| line.id == job.id))
}

/// Finds a job with its build.
pub(in crate::web) async fn build_and_job(db: &PgPool, id: JobId) -> Result<(Build, Job), Error> {
    let build = of_job(db, id).await?.ok_or(Error::NotFound("job"))?;
    let job = jobs(db, build.id).await?.into_iter().find(|job| job.id == id).ok_or(Error::NotFound("job"))?;
    Ok((build, job))
}

impl Job {
    /// Returns the mark of the state or verdict.
    pub(in crate::web) fn mark(&self) -> Mark {
        (self.state, self.verdict).into()
    }

    pub(in crate::web) fn kind_word(&self) -> &'static str {
        match self.kind {
            JobKind::Script => "script",
            JobKind::Smoke => "smoke",
            JobKind::Train => "train",
        }
    }

    /// Returns the last step and the number of steps of a running training, if both are known.
    pub(in crate::web) fn bar(&self) -> Option<(u64, u64)> {
        let JobProgress { step, steps, .. } = self.progress.as_ref()?;
        Some((*step, (*steps)?))
    }

    /// Returns how long the job took, or has been running.
    pub(in crate::web) fn took(&self) -> Option<String> {
        took(self.started_at, self.finished_at)
    }
}

/// Columns of a job that a reader of its log needs.
#[derive(Debug, sqlx::FromRow)]
pub(in crate::web) struct JobFacts {
    pub attempt: i32,
    pub state: JobState,
    pub verdict: Option<Verdict>,
    pub reason: Option<String>,
    pub log_length: i64,
}

impl JobFacts {
    /// Returns the latest attempt at `job`, the job that these facts are about.
    pub(in crate::web) fn attempt_of(&self, job: JobId) -> AttemptId {
        AttemptId { job, number: self.attempt }
    }
}

pub(in crate::web) async fn job_facts(db: &PgPool, job: JobId) -> Result<JobFacts, Error> {
    find_job_facts(db, job).await?.ok_or(Error::NotFound("job"))
}

pub(in crate::web) async fn find_job_facts(db: &PgPool, job: JobId) -> sqlx::Result<Option<JobFacts>> {
    sqlx::query_as(concat!("select state, verdict, reason, ", run_columns!(), " from job where id = $1"))
        .bind(job)
        .fetch_optional(db)
        .await
}
