//! Rows of builds and jobs that both the pages and the JSON API read.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgPool;

use super::access::{Repo, Sight};
use super::error::Error;
use super::job_title::{Titled, titles};
use super::show::{Forge, Mark, When, took};
use crate::domain::{AttemptId, BuildId, BuildState, JobId, JobKind, JobState, RepoId, Sha, TriggerKind, Verdict};

/// A build with its repository.
#[derive(Debug, Clone, Serialize, sqlx::FromRow)]
pub(super) struct Build {
    pub id: BuildId,
    pub owner: String,
    pub name: String,
    pub number: i32,
    pub state: BuildState,
    pub kind: TriggerKind,
    pub branch: Option<String>,
    pub tag: Option<String>,
    pub sha: Sha,
    pub built_sha: Sha,
    /// The start of the commit message.
    pub message: Option<String>,
    pub author: Option<String>,
    pub sender: Option<String>,
    pub compare_url: Option<String>,
    pub pull_request: Option<i32>,
    pub pull_request_title: Option<String>,
    pub head_branch: Option<String>,
    pub head_repo: Option<String>,
    pub draft: bool,
    pub needs_approval: bool,
    pub approved_by: Option<String>,
    /// Number and page of the build on Travis that requested this one.
    pub travis_number: Option<String>,
    pub travis_url: Option<String>,
    pub created_at: DateTime<Utc>,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
    #[serde(skip)]
    pub clone_url: String,
}

/// Makes a query of [`Build`]s, from the clauses that follow the join.
macro_rules! select_builds {
    ($rest:literal) => {
        concat!(
            "select build.id, owner, name, number, state, kind, branch, tag, sha, built_sha,
                 left(message, 4096) as message, author, sender, compare_url, pull_request, pull_request_title,
                 head_branch, head_repo, draft, needs_approval, approved_by, travis_number, travis_url, build.created_at, started_at, finished_at, clone_url
             from build join repo on repo.id = repo_id ",
            $rest
        )
    };
}

/// Lists the latest builds of all repositories in sight.
pub(super) async fn latest(db: &PgPool, sight: &Sight, limit: i64) -> sqlx::Result<Vec<Build>> {
    if sight.everything {
        return sqlx::query_as(select_builds!("order by build.id desc limit $1")).bind(limit).fetch_all(db).await;
    }
    // The latest of each repository: a viewer of few repositories must not make Postgres read the builds of all others.
    sqlx::query_as(select_builds!(
        "where build.id in (
             select last.id from repo, lateral (
                 select id from build where repo_id = repo.id order by number desc limit $1
             ) last
             where not private or repo.id = any($2) order by last.id desc limit $1
         ) order by build.id desc"
    ))
    .bind(limit)
    .bind(&sight.repos)
    .fetch_all(db)
    .await
}

/// Lists the builds of a repository, newest first: those pushed to `branch` if it is given, with numbers below
/// `before`.
pub(super) async fn history(
    db: &PgPool,
    repo: RepoId,
    branch: Option<&str>,
    before: Option<i32>,
    limit: i64,
) -> sqlx::Result<Vec<Build>> {
    sqlx::query_as(select_builds!(
        "where repo_id = $1 and ($2::text is null or (branch = $2 and kind <> 'pull_request'))
           and ($3::int is null or number < $3)
         order by number desc limit $4"
    ))
    .bind(repo)
    .bind(branch)
    .bind(before)
    .bind(limit)
    .fetch_all(db)
    .await
}

/// Finds the build of a repository that an address names.
pub(super) async fn build(db: &PgPool, repo: &Repo, number: &str) -> Result<Build, Error> {
    let number: i32 = number.parse().map_err(|_| Error::NotFound("build"))?;
    sqlx::query_as(select_builds!("where repo_id = $1 and number = $2"))
        .bind(repo.id)
        .bind(number)
        .fetch_optional(db)
        .await?
        .ok_or(Error::NotFound("build"))
}

impl Build {
    /// Returns the path of the build's page.
    pub(super) fn path(&self) -> String {
        format!("/{}/{}/builds/{}", self.owner, self.name, self.number)
    }

    /// Returns true while the build waits for its approval.
    pub(super) fn is_unapproved(&self) -> bool {
        self.needs_approval && self.approved_by.is_none() && !self.state.is_finished()
    }

    pub(super) fn mark(&self) -> Mark {
        if self.is_unapproved() { Mark::UNAPPROVED } else { self.state.into() }
    }

    /// Returns the first line of the commit message, or another line that describes the build.
    pub(super) fn subject(&self) -> &str {
        let first_line = self.message.as_deref().and_then(|message| message.lines().next());
        [self.pull_request_title.as_deref(), first_line, self.tag.as_deref()]
            .into_iter()
            .flatten()
            .find(|text| !text.trim().is_empty())
            .unwrap_or("(no commit message)")
    }

    /// Returns the rest of the commit message.
    pub(super) fn body(&self) -> &str {
        let message = self.message.as_deref().unwrap_or_default();
        let (first, rest) = message.split_once('\n').unwrap_or((message, ""));
        if self.pull_request_title.as_deref().is_some_and(|title| title != first) {
            message.trim()
        } else {
            rest.trim()
        }
    }

    /// Returns the branch or tag whose commit was built.
    pub(super) fn reference(&self) -> &str {
        [&self.tag, &self.head_branch, &self.branch].into_iter().flatten().next().map_or("", String::as_str)
    }

    /// Returns the author, or else the sender.
    pub(super) fn person(&self) -> &str {
        self.author.as_deref().or(self.sender.as_deref()).unwrap_or_default()
    }

    /// Returns the kind of the trigger in words, with the number of a build on Travis.
    pub(super) fn event(&self) -> String {
        match &self.travis_number {
            Some(number) => format!("{} #{number}", self.kind),
            None => self.kind.to_string(),
        }
    }

    /// Returns the time at which the build was created.
    pub(super) fn when(&self) -> When {
        When::new(self.created_at)
    }

    /// Returns how long the build took, or has been running.
    pub(super) fn took(&self) -> Option<String> {
        took(self.started_at, self.finished_at)
    }

    /// Returns the pages of the repository at its forge.
    pub(super) fn forge(&self) -> Forge {
        Forge::of(&self.clone_url)
    }
}

#[derive(Debug, Clone, Serialize, sqlx::FromRow)]
pub(super) struct Job {
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
    pub config: Value,
    /// See [`job_title`].
    #[sqlx(skip)]
    #[serde(skip)]
    pub title: String,
}

impl Job {
    pub(super) fn attempt_id(&self) -> AttemptId {
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
pub(super) async fn jobs(db: &PgPool, build: BuildId) -> sqlx::Result<Vec<Job>> {
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
    Ok(jobs)
}

/// Finds a job of a build. Its title needs the other jobs, too.
pub(super) async fn job(db: &PgPool, build: BuildId, number: &str) -> Result<Job, Error> {
    let number: i32 = number.parse().map_err(|_| Error::NotFound("job"))?;
    jobs(db, build).await?.into_iter().find(|job| job.number == number).ok_or(Error::NotFound("job"))
}

impl Job {
    /// Returns the mark of the state or verdict.
    pub(super) fn mark(&self) -> Mark {
        (self.state, self.verdict).into()
    }

    pub(super) fn kind_word(&self) -> &'static str {
        match self.kind {
            JobKind::Script => "script",
            JobKind::Smoke => "smoke",
            JobKind::Train => "train",
        }
    }

    /// Returns how long the job took, or has been running.
    pub(super) fn took(&self) -> Option<String> {
        took(self.started_at, self.finished_at)
    }
}

/// Columns of a job that a reader of its log needs.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct JobFacts {
    pub attempt: i32,
    pub state: JobState,
    pub verdict: Option<Verdict>,
    pub reason: Option<String>,
    pub log_length: i64,
}

impl JobFacts {
    /// Returns the latest attempt at `job`, the job that these facts are about.
    pub(super) fn attempt_of(&self, job: JobId) -> AttemptId {
        AttemptId { job, number: self.attempt }
    }
}

pub(super) async fn job_facts(db: &PgPool, job: JobId) -> Result<JobFacts, Error> {
    find_job_facts(db, job).await?.ok_or(Error::NotFound("job"))
}

pub(super) async fn find_job_facts(db: &PgPool, job: JobId) -> sqlx::Result<Option<JobFacts>> {
    sqlx::query_as(concat!("select state, verdict, reason, ", run_columns!(), " from job where id = $1"))
        .bind(job)
        .fetch_optional(db)
        .await
}
