//! Builds, each inserted whole with its jobs, problems and wishes.

use anyhow::Context as _;
use sqlx::PgConnection;

use super::queue::{self, NewJob, rollup};
use super::wishes::{self, NewWish};
use super::{problems, repos};
use crate::domain::{
    BuildId, BuildState, DeliveryId, JobId, Problem, RepoId, RepoName, Sha, Status, Trigger, TriggerKind,
};

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
    problems::insert(tx, id, new.problems).await?;
    if new.decided.is_none() {
        queue::insert(tx, id, new.jobs).await?;
    }
    let created = Created { id, number };
    if new.linted {
        let status = Status::of_lint(new.problems);
        let path = page_path(tx, new.repo, number).await?;
        let wish = NewWish {
            repo: new.repo,
            sha: &trigger.sha,
            build: id,
            context: Status::LINT_CONTEXT,
            status: &status,
            target_path: &path,
        };
        wishes::want(tx, &wish).await?;
    }
    rollup::wish_status(tx, id).await?;
    Ok(created)
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
