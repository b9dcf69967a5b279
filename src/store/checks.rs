//! The rows that a check run and our comment on a pull request show.

use chrono::{DateTime, Utc};
use serde_json::Value as Json;
use sqlx::PgConnection;

use super::problems;
use crate::domain::{AttemptId, BuildId, BuildState, JobId, Problem, RepoId, Sha, Verdict};

/// Number of trainings of a build that are shown.
const MAX_TRAININGS: i64 = 50;
/// Number of builds before another among which one to compare with is looked for.
const LOOK_BACK: i64 = 1000;

/// A job in a check run.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct CheckedJob {
    /// `BUILD.JOB`, as in `12.1`.
    pub number: String,
    pub name: Option<String>,
    pub verdict: Option<Verdict>,
    /// True when the verdict does not count for the build.
    pub allow_failure: bool,
    pub reason: Option<String>,
}

/// A job that has trained something.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Training {
    pub job: JobId,
    /// Number of its last attempt.
    pub attempt: i32,
    /// `BUILD.JOB`, as in `12.1`.
    pub number: String,
    pub name: Option<String>,
    pub finished_at: Option<DateTime<Utc>>,
    /// Report of a training.
    pub report: Option<Json>,
    /// Steps and values of the loss.
    pub steps: Vec<i64>,
    pub points: Vec<f64>,
}

impl Training {
    /// Returns the attempt whose loss this is.
    pub fn attempt_id(&self) -> AttemptId {
        AttemptId { job: self.job, number: self.attempt }
    }
}

/// A build to compare with.
#[derive(Debug, Clone)]
pub struct Base {
    /// Number of the build in its repository.
    pub number: i32,
    pub branch: String,
    pub trainings: Vec<Training>,
}

/// A build with everything that a check run shows of it.
#[derive(Debug, Clone)]
pub struct CheckedBuild {
    pub state: BuildState,
    /// True while the build waits for its approval.
    pub is_unapproved: bool,
    pub problems: Vec<Problem>,
    /// The line of each problem, as far as it is known.
    pub lines: Vec<Option<String>>,
    pub jobs: Vec<CheckedJob>,
    pub trainings: Vec<Training>,
    /// The last build of the base branch that has passed, if it trained something.
    pub base: Option<Base>,
}

/// Reads what a check run shows of a build.
pub async fn of(db: &mut PgConnection, build: BuildId) -> sqlx::Result<CheckedBuild> {
    let (state, is_unapproved) = sqlx::query_as(
        "select state, needs_approval and approved_at is null and finished_at is null from build where id = $1",
    )
    .bind(build)
    .fetch_one(&mut *db)
    .await?;
    let jobs = sqlx::query_as(
        "select build.number || '.' || job.number as number, job.name, verdict, allow_failure, reason
         from job join build on build.id = build_id where build_id = $1 order by job.number",
    )
    .bind(build)
    .fetch_all(&mut *db)
    .await?;
    let trainings = trainings(db, build).await?;
    let base = if trainings.is_empty() { None } else { base(db, build).await? };
    let (problems, lines) = (problems::of(db, build).await?, problems::lines(db, build).await?);
    Ok(CheckedBuild { state, is_unapproved, problems, lines, jobs, trainings, base })
}

async fn trainings(db: &mut PgConnection, build: BuildId) -> sqlx::Result<Vec<Training>> {
    sqlx::query_as(
        "select job.id as job, attempt, build.number || '.' || job.number as number, job.name, job.finished_at,
             body as report, coalesce(steps, '{}') as steps, coalesce(points, '{}') as points
         from job join build on build.id = build_id
             left join report on report.job_id = job.id and report.kind = 'training'
             left join series on series.job_id = job.id and series.name = 'loss'
         where build_id = $1 and (body is not null or points is not null) order by job.number limit $2",
    )
    .bind(build)
    .bind(MAX_TRAININGS)
    .fetch_all(db)
    .await
}

/// Finds the last build that has passed on the branch into which a pull request goes, or on the default branch.
async fn base(db: &mut PgConnection, build: BuildId) -> sqlx::Result<Option<Base>> {
    let found: Option<(BuildId, i32, String)> = sqlx::query_as(
        "with this as (
             select number, repo_id, case when pull_request is null then default_branch else branch end as branch
             from build join repo on repo.id = repo_id where build.id = $1
         )
         select recent.id, recent.number, recent.branch from this, lateral (
             select id, number, kind, branch, state from build
             where repo_id = this.repo_id and number < this.number order by number desc limit $2
         ) recent
         where kind = 'push' and recent.branch = this.branch and state = 'passed'
         order by recent.number desc limit 1",
    )
    .bind(build)
    .bind(LOOK_BACK)
    .fetch_optional(&mut *db)
    .await?;
    let Some((id, number, branch)) = found else { return Ok(None) };
    let trainings = trainings(db, id).await?;
    Ok((!trainings.is_empty()).then_some(Base { number, branch, trainings }))
}

/// A build in our comment on a pull request.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Part {
    pub id: BuildId,
    /// Number of the build in its repository.
    pub number: i32,
    pub sha: Sha,
    /// Description of its status.
    pub description: String,
}

/// Lists the builds of which our comment on a pull request tells: the newest one, and the newest of smoke jobs and of trainings alone.
pub async fn parts(db: &mut PgConnection, repo: RepoId, pull_request: Option<i32>) -> sqlx::Result<Vec<Part>> {
    sqlx::query_as(
        "select distinct on (scope) build.id, number, build.sha, description
         from build join wish on wish.repo_id = build.repo_id and wish.sha = build.sha and wish.build_id = build.id
             and wish.kind = 'status' and context <> 'trainyard/lint'
         where build.repo_id = $1 and pull_request = $2 and pull_request is not null and has_comment
         order by scope, build.id desc",
    )
    .bind(repo)
    .bind(pull_request)
    .fetch_all(db)
    .await
}
