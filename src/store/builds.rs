//! Builds: inserted whole with their jobs, problems and wishes, and rolled up from their jobs.

use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;

use super::{jobs, repos, wishes};
use crate::domain::{
    BuildId, BuildState, DeliveryId, JobId, JobKind, JobOutcome, JobSummary, Needs, Problem, RepoId, RepoName,
    Severity, Sha, Status, Trigger, TriggerKind, Verdict, roll_up,
};

/// A job to be inserted with its build.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    /// What it does.
    pub kind: JobKind,
    /// Its stage's name.
    pub stage: Option<String>,
    /// Its own name.
    pub name: Option<String>,
    /// Whether its verdict does not count for the build.
    pub allow_failure: bool,
    /// Travis's normal form of the job.
    pub config: Value,
    /// What it needs of its runner beside a slot.
    pub needs: Needs,
}

/// A build to be inserted.
#[derive(Debug, Clone, PartialEq)]
pub struct NewBuild<'a> {
    /// The delivery that asked for it.
    pub delivery: Option<&'a DeliveryId>,
    /// Its repository.
    pub repo: RepoId,
    /// What asked for it.
    pub trigger: &'a Trigger,
    /// The commit that its jobs see; another than the trigger's for a pull request's merge commit.
    pub built_sha: &'a Sha,
    /// The jobs, in order; their numbers count from 1. Not started when a problem is an error.
    pub jobs: &'a [NewJob],
    /// What the plan and the lint found.
    pub problems: &'a [Problem],
    /// The final state when there is nothing to run.
    pub decided: Option<BuildState>,
    /// Whether the jobs that may fail are not waited for.
    pub fast_finish: bool,
    /// Whether training configs were linted, so that the lint has a status of its own.
    pub linted: bool,
}

/// A build that was inserted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Created {
    /// Its key.
    pub id: BuildId,
    /// Its number in its repository.
    pub number: i32,
}

/// Inserts a build with everything that belongs to it. The caller's transaction makes it all or nothing.
///
/// # Errors
/// When Postgres cannot be asked, or when the delivery has a build already.
pub async fn create(tx: &mut PgConnection, new: &NewBuild<'_>) -> sqlx::Result<Created> {
    let trigger = new.trigger;
    let number = repos::next_number(tx, new.repo).await?;
    let pull = trigger.pull_request.as_ref();
    let id: BuildId = sqlx::query_scalar(
        "insert into build (repo_id, number, delivery_id, kind, branch, tag, sha, built_sha, before_sha, message, author,
             sender, compare_url, pull_request, pull_request_title, head_branch, head_repo, draft,
             state, started_at, finished_at, fast_finish)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18,
             $19, case when $20 then now() end, case when $20 then now() end, $21)
         returning id",
    )
    .bind(new.repo)
    .bind(number)
    .bind(new.delivery)
    .bind(trigger.kind)
    .bind(&trigger.branch)
    .bind(&trigger.tag)
    .bind(&trigger.sha)
    .bind(new.built_sha)
    .bind(&trigger.before)
    .bind(&trigger.message)
    .bind(&trigger.author)
    .bind(&trigger.sender)
    .bind(&trigger.compare_url)
    .bind(pull.map(|p| i32::try_from(p.number).unwrap_or(i32::MAX)))
    .bind(pull.map(|p| &p.title))
    .bind(pull.map(|p| &p.head_branch))
    .bind(pull.and_then(|p| p.head_repo.as_ref()).map(ToString::to_string))
    .bind(pull.is_some_and(|p| p.draft))
    .bind(new.decided.unwrap_or(BuildState::Queued))
    .bind(new.decided.is_some())
    .bind(new.fast_finish)
    .fetch_one(&mut *tx)
    .await?;
    insert_problems(tx, id, new.problems).await?;
    if new.decided.is_none() {
        jobs::insert(tx, id, new.jobs).await?;
    }
    let created = Created { id, number };
    if new.linted {
        let status = Status::of_lint(new.problems);
        let path = page_path(tx, new.repo, number).await?;
        wishes::want(tx, (new.repo, &trigger.sha, id), Status::LINT_CONTEXT, &status, &path).await?;
    }
    wish_status(tx, id).await?;
    Ok(created)
}

async fn insert_problems(tx: &mut PgConnection, build: BuildId, problems: &[Problem]) -> sqlx::Result<()> {
    for (position, problem) in (0_i32..).zip(problems) {
        sqlx::query(
            "insert into problem (build_id, position, severity, rule, message, file, line, col, key)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(build)
        .bind(position)
        .bind(problem.severity)
        .bind(&problem.rule)
        .bind(without_nul(&problem.message))
        .bind(problem.file.as_deref().map(without_nul))
        .bind(problem.line.map(|n| i32::try_from(n).unwrap_or(i32::MAX)))
        .bind(problem.column.map(|n| i32::try_from(n).unwrap_or(i32::MAX)))
        .bind(problem.key.as_deref().map(without_nul))
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

/// Postgres has no NUL in text, and a repository's file may.
fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// The problems of a build, as they were found.
///
/// # Errors
/// When Postgres cannot be asked.
pub async fn problems(db: &mut PgConnection, build: BuildId) -> sqlx::Result<Vec<Problem>> {
    type Row = (Severity, String, String, Option<String>, Option<i32>, Option<i32>, Option<String>);
    let rows: Vec<Row> = sqlx::query_as(
        "select severity, rule, message, file, line, col, key from problem where build_id = $1 order by position",
    )
    .bind(build)
    .fetch_all(db)
    .await?;
    let unsigned = |n: Option<i32>| n.and_then(|n| u32::try_from(n).ok());
    Ok(rows
        .into_iter()
        .map(|(severity, rule, message, file, line, column, key)| Problem {
            severity,
            rule,
            message,
            file,
            line: unsigned(line),
            column: unsigned(column),
            key,
        })
        .collect())
}

#[derive(sqlx::FromRow)]
struct BuildRow {
    repo_id: RepoId,
    number: i32,
    kind: TriggerKind,
    sha: Sha,
    state: BuildState,
    started_at: Option<DateTime<Utc>>,
    finished_at: Option<DateTime<Utc>>,
    repo: String,
}

/// Locks a build's row until the transaction ends.
pub(super) async fn lock(tx: &mut PgConnection, build: BuildId) -> sqlx::Result<()> {
    sqlx::query("select 1 from build where id = $1 for update").bind(build).execute(tx).await?;
    Ok(())
}

/// Starts the build's next stage if its time has come, rolls the build up from its jobs
/// and wishes its status. Called in every transaction that changes a job's state; it
/// locks the build's row, so that two jobs that end at once do not both miss the other's end.
///
/// # Errors
/// When Postgres cannot be asked.
pub async fn refresh(tx: &mut PgConnection, build: BuildId) -> sqlx::Result<BuildState> {
    lock(tx, build).await?;
    jobs::start_next_stage(tx, build).await?;
    let jobs: Vec<JobSummary> = sqlx::query_as(
        "select stage_order, state, verdict, allow_failure from job where build_id = $1 order by stage_order, number",
    )
    .bind(build)
    .fetch_all(&mut *tx)
    .await?;
    let (fast_finish, has_begun): (bool, bool) =
        sqlx::query_as("select fast_finish, started_at is not null from build where id = $1")
            .bind(build)
            .fetch_one(&mut *tx)
            .await?;
    // A claim that is not committed yet has begun a job that is not seen here, and does not look at a build that runs.
    let state = match roll_up(&jobs, fast_finish) {
        BuildState::Queued if has_begun => BuildState::Running,
        state => state,
    };
    sqlx::query(
        "update build set state = $2,
             started_at = coalesce(started_at, case when $2 <> 'queued' then now() end),
             finished_at = case when $2 in ('queued', 'running') then null else coalesce(finished_at, now()) end
         where id = $1",
    )
    .bind(build)
    .bind(state)
    .execute(&mut *tx)
    .await?;
    wish_status(tx, build).await?;
    Ok(state)
}

async fn wish_status(tx: &mut PgConnection, build: BuildId) -> sqlx::Result<()> {
    let row: BuildRow = sqlx::query_as(
        "select repo_id, number, kind, sha, state, started_at, finished_at, owner || '/' || name as repo
         from build join repo on repo.id = repo_id where build.id = $1",
    )
    .bind(build)
    .fetch_one(&mut *tx)
    .await?;
    type Outcome = (i32, Option<Verdict>, bool, Option<String>, Option<String>);
    let jobs: Vec<Outcome> = sqlx::query_as(
        "select number, verdict, allow_failure, reason, waits_for from job where build_id = $1 order by number",
    )
    .bind(build)
    .fetch_all(&mut *tx)
    .await?;
    let outcomes: Vec<JobOutcome> = jobs
        .into_iter()
        .map(|(number, verdict, allow_failure, reason, waits_for)| JobOutcome {
            number: format!("{}.{number}", row.number),
            verdict,
            allow_failure,
            reason,
            waits_for,
        })
        .collect();
    // Only what has ended is explained by them.
    let problems = if row.state.is_finished() { problems(tx, build).await? } else { Vec::new() };
    let duration = row.started_at.zip(row.finished_at).and_then(|(from, to)| (to - from).to_std().ok());
    let duration = duration.map(|d| Duration::from_secs(d.as_secs()).max(Duration::from_secs(1)));
    let status = Status::of_build(row.state, &outcomes, &problems, duration);
    let path = format!("/{}/builds/{}", row.repo, row.number);
    wishes::want(tx, (row.repo_id, &row.sha, build), Status::context(row.kind), &status, &path).await
}

async fn page_path(tx: &mut PgConnection, repo: RepoId, number: i32) -> sqlx::Result<String> {
    sqlx::query_scalar("select '/' || owner || '/' || name || '/builds/' || $2::text from repo where id = $1")
        .bind(repo)
        .bind(number)
        .fetch_one(tx)
        .await
}

/// What a job needs to know of its build, to be run.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct BuildFacts {
    /// Key of the build.
    pub id: BuildId,
    /// Number in its repository.
    pub number: i32,
    /// Owner of the repository.
    pub owner: String,
    /// Name of the repository.
    pub name: String,
    /// The repository's key.
    pub repo_id: RepoId,
    /// Whether the public cannot read it.
    pub private: bool,
    /// Where git fetches it from.
    pub clone_url: String,
    /// The repository's default branch.
    pub default_branch: String,
    /// What asked for the build.
    pub kind: TriggerKind,
    /// Branch, or a pull request's base branch.
    pub branch: Option<String>,
    /// Tag.
    pub tag: Option<String>,
    /// The commit that gets the status.
    pub sha: Sha,
    /// The commit that is built.
    pub built_sha: Sha,
    /// The commit before the push, or a pull request's base commit.
    pub before_sha: Option<Sha>,
    /// Message of the built commit.
    pub message: Option<String>,
    /// Number of the pull request.
    pub pull_request: Option<i32>,
    /// Its branch.
    pub head_branch: Option<String>,
    /// Its repository, `owner/name`.
    pub head_repo: Option<String>,
    /// Whether it is a draft.
    pub draft: bool,
}

impl BuildFacts {
    /// The repository's name.
    ///
    /// # Errors
    /// When the stored one is none.
    pub fn repo(&self) -> anyhow::Result<RepoName> {
        format!("{}/{}", self.owner, self.name).parse().context("a stored repository's name")
    }
}

/// The facts of a job's build.
///
/// # Errors
/// When Postgres cannot be asked.
pub async fn facts_of(db: &mut PgConnection, job: JobId) -> sqlx::Result<BuildFacts> {
    sqlx::query_as(
        "select build.id, build.number, owner, repo.name, repo_id, private, clone_url, default_branch, build.kind, branch, tag, sha, built_sha,
             before_sha, message, pull_request, head_branch, head_repo, draft
         from job join build on build.id = build_id join repo on repo.id = repo_id where job.id = $1",
    )
    .bind(job)
    .fetch_one(db)
    .await
}
