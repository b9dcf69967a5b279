//! What pages and JSON both read of builds and jobs.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgPool;

use super::error::Error;
use super::show::{Forge, Mark, When, took};
use crate::domain::{
    AttemptId, BuildId, BuildState, JobId, JobKind, JobState, RepoId, RepoName, Sha, TriggerKind, Verdict,
};

/// A repository.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(super) struct Repo {
    pub id: RepoId,
    pub owner: String,
    pub name: String,
    pub default_branch: String,
}

/// The repository that an address names.
pub(super) async fn repo(db: &PgPool, owner: &str, name: &str) -> Result<Repo, Error> {
    let named: RepoName = format!("{owner}/{name}").parse().map_err(|_| Error::NotFound("repository"))?;
    sqlx::query_as(
        "select id, owner, name, default_branch from repo where lower(owner) = lower($1) and lower(name) = lower($2)",
    )
    .bind(named.owner())
    .bind(named.name())
    .fetch_optional(db)
    .await?
    .ok_or(Error::NotFound("repository"))
}

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
    pub message: Option<String>,
    pub author: Option<String>,
    pub sender: Option<String>,
    pub compare_url: Option<String>,
    pub pull_request: Option<i32>,
    pub pull_request_title: Option<String>,
    pub head_branch: Option<String>,
    pub head_repo: Option<String>,
    pub draft: bool,
    pub created_at: DateTime<Utc>,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
    #[serde(skip)]
    pub clone_url: String,
}

/// A query of [`Build`]s, with what follows the join.
macro_rules! select_builds {
    ($rest:literal) => {
        concat!(
            "select build.id, owner, name, number, state, kind, branch, tag, sha, built_sha, message, author, sender,
                 compare_url, pull_request, pull_request_title, head_branch, head_repo, draft,
                 build.created_at, started_at, finished_at, clone_url
             from build join repo on repo.id = repo_id ",
            $rest
        )
    };
}

/// The latest builds of all repositories.
pub(super) async fn latest(db: &PgPool, limit: i64) -> sqlx::Result<Vec<Build>> {
    sqlx::query_as(select_builds!("order by build.id desc limit $1")).bind(limit).fetch_all(db).await
}

/// Builds of a repository, newest first: those pushed to `branch` if one is given, with numbers below `before`.
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

/// The build that an address names.
pub(super) async fn build(db: &PgPool, owner: &str, name: &str, number: &str) -> Result<Build, Error> {
    let number: i32 = number.parse().map_err(|_| Error::NotFound("build"))?;
    let repo = repo(db, owner, name).await?;
    sqlx::query_as(select_builds!("where repo_id = $1 and number = $2"))
        .bind(repo.id)
        .bind(number)
        .fetch_optional(db)
        .await?
        .ok_or(Error::NotFound("build"))
}

impl Build {
    /// The path of its page.
    pub(super) fn path(&self) -> String {
        format!("/{}/{}/builds/{}", self.owner, self.name, self.number)
    }

    /// Its state.
    pub(super) fn mark(&self) -> Mark {
        self.state.into()
    }

    /// The commit message's first line, or what else says in a line what was built.
    pub(super) fn subject(&self) -> &str {
        let first_line = self.message.as_deref().and_then(|message| message.lines().next());
        [self.pull_request_title.as_deref(), first_line, self.tag.as_deref()]
            .into_iter()
            .flatten()
            .find(|text| !text.trim().is_empty())
            .unwrap_or("(no commit message)")
    }

    /// The rest of the commit message.
    pub(super) fn body(&self) -> &str {
        let message = self.message.as_deref().unwrap_or_default();
        let (first, rest) = message.split_once('\n').unwrap_or((message, ""));
        if self.pull_request_title.as_deref().is_some_and(|title| title != first) {
            message.trim()
        } else {
            rest.trim()
        }
    }

    /// The branch or tag whose commit was built.
    pub(super) fn reference(&self) -> &str {
        [&self.tag, &self.head_branch, &self.branch].into_iter().flatten().next().map_or("", String::as_str)
    }

    /// Who it is by.
    pub(super) fn person(&self) -> &str {
        self.author.as_deref().or(self.sender.as_deref()).unwrap_or_default()
    }

    /// The kind of its trigger in words.
    pub(super) fn event(&self) -> String {
        self.kind.to_string()
    }

    /// When it came.
    pub(super) fn when(&self) -> When {
        When::new(self.created_at)
    }

    /// How long it took, or runs already.
    pub(super) fn took(&self) -> Option<String> {
        took(self.started_at, self.finished_at)
    }

    /// Its repository's pages at the forge.
    pub(super) fn forge(&self) -> Forge {
        Forge::of(&self.clone_url)
    }
}

/// A job.
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
    /// What it waits for, if that is more than a slot.
    pub wait_reason: Option<String>,
    pub exit_status: Option<i64>,
    pub attempt: i32,
    pub runner: Option<String>,
    pub log_length: i64,
    pub created_at: DateTime<Utc>,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
    pub config: Value,
}

impl Job {
    pub(super) fn attempt_id(&self) -> AttemptId {
        AttemptId { job: self.id, number: self.attempt }
    }
}

/// A query of [`Job`]s, with its condition.
macro_rules! select_jobs {
    ($rest:literal) => {
        concat!(
            "select id, number, kind, stage, name, allow_failure, state, verdict, reason, wait_reason, exit_status, attempt,
                 runner, log_length, created_at, started_at, finished_at, config
             from job ",
            $rest
        )
    };
}

/// The jobs of a build, in order.
pub(super) async fn jobs(db: &PgPool, build: BuildId) -> sqlx::Result<Vec<Job>> {
    sqlx::query_as(select_jobs!("where build_id = $1 order by number")).bind(build).fetch_all(db).await
}

/// One job of a build.
pub(super) async fn job(db: &PgPool, build: BuildId, number: &str) -> Result<Job, Error> {
    let number: i32 = number.parse().map_err(|_| Error::NotFound("job"))?;
    sqlx::query_as(select_jobs!("where build_id = $1 and number = $2"))
        .bind(build)
        .bind(number)
        .fetch_optional(db)
        .await?
        .ok_or(Error::NotFound("job"))
}

impl Job {
    /// Its state or verdict.
    pub(super) fn mark(&self) -> Mark {
        (self.state, self.verdict).into()
    }

    /// Its kind, as a word.
    pub(super) fn kind_word(&self) -> &'static str {
        match self.kind {
            JobKind::Script => "script",
            JobKind::Smoke => "smoke",
            JobKind::Train => "train",
        }
    }

    /// Its own name, or what of its config tells it from the build's other jobs.
    pub(super) fn title(&self) -> String {
        if let Some(name) = self.name.as_deref().filter(|name| !name.trim().is_empty()) {
            return name.to_owned();
        }
        let keys = ["os", "dist", "python", "language", "env"];
        let parts: Vec<String> = keys.iter().filter_map(|key| self.config.get(key)).filter_map(in_short).collect();
        if parts.is_empty() { format!("{} job", self.kind_word()) } else { parts.join(" · ") }
    }

    /// How long it took, or runs already.
    pub(super) fn took(&self) -> Option<String> {
        took(self.started_at, self.finished_at)
    }
}

/// A value of a job's config in a few words; none when that would not be few.
fn in_short(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Array(items) => items.iter().filter_map(in_short).collect::<Vec<_>>().join(" "),
        Value::Object(map) => {
            let pair = |(key, value): (&String, &Value)| Some(format!("{key}={}", value.as_str()?));
            map.iter().filter_map(pair).collect::<Vec<_>>().join(" ")
        }
        Value::Null | Value::Bool(_) => return None,
    };
    (!text.is_empty() && text.chars().count() <= 60).then_some(text)
}

/// What a reader of a job's log needs to know of the job, of its latest attempt.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct JobFacts {
    pub attempt: i32,
    pub state: JobState,
    pub verdict: Option<Verdict>,
    pub reason: Option<String>,
    pub log_length: i64,
}

impl JobFacts {
    /// The latest attempt at `job`, whose facts these are.
    pub(super) fn attempt_of(&self, job: JobId) -> AttemptId {
        AttemptId { job, number: self.attempt }
    }
}

pub(super) async fn job_facts(db: &PgPool, job: JobId) -> Result<JobFacts, Error> {
    find_job_facts(db, job).await?.ok_or(Error::NotFound("job"))
}

pub(super) async fn find_job_facts(db: &PgPool, job: JobId) -> sqlx::Result<Option<JobFacts>> {
    sqlx::query_as("select attempt, state, verdict, reason, log_length from job where id = $1")
        .bind(job)
        .fetch_optional(db)
        .await
}
