//! Builds. Each is inserted as a whole, with its jobs, problems and wishes.

use anyhow::Context as _;
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};

use super::missed::FOUND;
use super::queue::superseded::{self, Cancels};
use super::queue::{self, NewJob, Origin, rollup};
use super::wishes::{self, NewWish};
use super::{problems, repos};
use crate::domain::{
    BuildId, BuildState, DeliveryId, JobId, Problem, RepoId, RepoName, Scope, Sha, Status, Trigger, TriggerKind,
};
use crate::travis::notifications::Webhooks;

/// A build to be inserted.
#[derive(Debug, Clone, PartialEq)]
pub struct NewBuild<'a> {
    /// The delivery that the build results from.
    pub delivery: Option<&'a DeliveryId>,
    pub repo: RepoId,
    pub trigger: &'a Trigger,
    /// Commit that the jobs check out. For a pull request, it is the merge commit and differs from the trigger's.
    pub built_sha: &'a Sha,
    /// The jobs, in order; their numbers count from 1. They are not inserted when a problem is an error.
    pub jobs: &'a [NewJob],
    /// Problems that the plan and the lint found.
    pub problems: &'a [Problem],
    /// The lines of these problems, as far as they are known.
    pub lines: &'a [Option<String>],
    /// Final state of a build that has nothing to run.
    pub decided: Option<BuildState>,
    /// True when the build does not wait for jobs that are allowed to fail.
    pub fast_finish: bool,
    /// Webhooks that tell of the build. Those of a fork's pull request are left out.
    pub webhooks: Option<&'a Webhooks>,
    /// Names of the chats that are told of the build.
    pub chats: &'a [String],
    /// True when training configs were linted. The lint then has its own status.
    pub linted: bool,
    /// True when a person must approve the build before its jobs run.
    pub needs_approval: bool,
    /// The part of the commit's work that the build does.
    pub scope: Scope,
    /// Older builds of the same branch or pull request that the build cancels; `None` for none.
    pub cancels: Option<Cancels>,
}

/// A build that was inserted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Created {
    pub id: BuildId,
    /// Number of the build in its repository.
    pub number: i32,
}

/// Inserts a build with everything that belongs to it. The caller's transaction makes it all or nothing.
///
/// # Errors
/// Fails when the delivery already has a build, and when Postgres does not answer.
pub async fn create(tx: &mut PgConnection, new: &NewBuild<'_>) -> sqlx::Result<Created> {
    let trigger = new.trigger;
    let (number, default_branch) = repos::next_number(tx, new.repo).await?;
    let pull = trigger.pull_request.as_ref();
    let is_fork = pull.is_some_and(|p| p.is_from_fork(&trigger.repo));
    // A build without jobs has nothing that could wait.
    let needs_approval = new.needs_approval && new.decided.is_none();
    let id: BuildId = sqlx::query_scalar(
        "insert into build (repo_id, number, delivery_id, kind, branch, tag, sha, built_sha, before_sha, message, author,
             sender, compare_url, pull_request, pull_request_title, head_branch, head_repo, draft,
             from_fork, state, started_at, finished_at, fast_finish, needs_approval, travis_number, travis_url,
             webhooks, chats, scope)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18,
             $19, $20, case when $21 then now() end, case when $21 then now() end, $22, $23, $24, $25, $26, $27,
             $28)
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
    .bind(is_fork)
    .bind(new.decided.unwrap_or(BuildState::Queued))
    .bind(new.decided.is_some())
    .bind(new.fast_finish)
    .bind(needs_approval)
    .bind(trigger.travis.as_ref().map(|build| &build.number))
    .bind(trigger.travis.as_ref().and_then(|build| build.url.as_deref()))
    .bind(new.webhooks.filter(|_| !is_fork).map(Json))
    .bind(if is_fork { &[] } else { new.chats })
    .bind(new.scope)
    .fetch_one(&mut *tx)
    .await?;
    problems::insert(tx, id, new.problems, new.lines).await?;
    let origin = Origin { build: id, repo: new.repo, priority: trigger.priority(&default_branch) };
    if new.decided.is_none() {
        queue::insert(tx, origin, new.jobs, needs_approval).await?;
    }
    // Before the wishes, as all transactions lock jobs before wishes.
    if let Some(cancels) = new.cancels {
        superseded::cancel(tx, origin, number, trigger, cancels).await?;
    }
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
    Ok(Created { id, number })
}

/// Returns the number of an earlier build of the same push or pull request, if one of the two was found by a check. Of
/// the builds of a pull request only the latest counts. The caller has locked the repository's row.
pub async fn built(tx: &mut PgConnection, repo: RepoId, trigger: &Trigger) -> sqlx::Result<Option<i32>> {
    if !matches!(trigger.kind, TriggerKind::Push | TriggerKind::Tag | TriggerKind::PullRequest) {
        return Ok(None);
    }
    sqlx::query_scalar(
        "select number from build
         where repo_id = $1 and sha = $2 and kind = $3 and branch is not distinct from $4 and tag is not distinct from $5
             and pull_request is not distinct from $6 and (sender = $7 or $8 = $7) and scope = 'commit'
             and not exists (
                 select from build later where later.repo_id = $1 and later.pull_request = $6
                     and later.number > build.number and later.scope = 'commit')
         order by id limit 1",
    )
    .bind(repo)
    .bind(&trigger.sha)
    .bind(trigger.kind)
    .bind(&trigger.branch)
    .bind(&trigger.tag)
    .bind(trigger.pull_request.as_ref().map(|pull| i32::try_from(pull.number).unwrap_or(i32::MAX)))
    .bind(FOUND)
    .bind(&trigger.sender)
    .fetch_optional(tx)
    .await
}

/// Lets a new build have a check run besides its status, or a part in our comment on its pull request.
pub async fn show(tx: &mut PgConnection, build: BuildId, check_run: bool, comment: bool) -> sqlx::Result<()> {
    sqlx::query("update build set has_check_run = $2, has_comment = $3 where id = $1")
        .bind(build)
        .bind(check_run)
        .bind(comment)
        .execute(&mut *tx)
        .await?;
    rollup::wish_status(tx, build).await
}

async fn page_path(tx: &mut PgConnection, repo: RepoId, number: i32) -> sqlx::Result<String> {
    sqlx::query_scalar("select '/' || owner || '/' || name || '/builds/' || $2::text from repo where id = $1")
        .bind(repo)
        .bind(number)
        .fetch_one(tx)
        .await
}

/// Returns the commit of the latest build of a branch that a build of Travis requested.
pub async fn last_of_travis(db: &PgPool, repo: &RepoName, branch: &str) -> sqlx::Result<Option<Sha>> {
    sqlx::query_scalar(
        "select sha from build join repo on repo.id = repo_id
         where lower(owner) = lower($1) and lower(name) = lower($2) and branch = $3 and kind = 'travis'
         order by number desc limit 1",
    )
    .bind(repo.owner())
    .bind(repo.name())
    .bind(branch)
    .fetch_optional(db)
    .await
}

/// Facts about the build that a job needs to run.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct BuildFacts {
    pub id: BuildId,
    /// Number of the build in its repository.
    pub number: i32,
    pub owner: String,
    pub name: String,
    pub repo_id: RepoId,
    /// True when the repository is not public.
    pub private: bool,
    /// Address from which git fetches the repository.
    pub clone_url: String,
    pub default_branch: String,
    /// Kind of the trigger.
    pub kind: TriggerKind,
    /// Branch. For a pull request, its base branch.
    pub branch: Option<String>,
    pub tag: Option<String>,
    /// Commit that gets the status.
    pub sha: Sha,
    /// Commit that is built.
    pub built_sha: Sha,
    /// Commit before the push. For a pull request, its base commit.
    pub before_sha: Option<Sha>,
    pub message: Option<String>,
    pub pull_request: Option<i32>,
    /// Branch of the pull request.
    pub head_branch: Option<String>,
    /// Repository of the pull request's branch, as `owner/name`.
    pub head_repo: Option<String>,
    /// True for a pull request from another repository: it gets no secrets.
    pub is_fork: bool,
    /// True when the pull request is a draft.
    pub draft: bool,
}

impl BuildFacts {
    /// Returns the repository's name.
    ///
    /// # Errors
    /// Fails when the stored name is not valid.
    pub fn repo(&self) -> anyhow::Result<RepoName> {
        format!("{}/{}", self.owner, self.name).parse().context("a stored repository's name")
    }
}

/// The origin of a job, for its trace.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct QueuedBy {
    /// Id of the delivery that has asked for the build.
    pub delivery: String,
    /// Seconds for which the job could have been claimed.
    pub waited: f64,
}

/// Returns the origin of a job; `None` once its delivery was forgotten.
pub async fn origin_of(db: &PgPool, job: JobId) -> sqlx::Result<Option<QueuedBy>> {
    sqlx::query_as(
        "select delivery_id as delivery,
             greatest(extract(epoch from now() - greatest(job.created_at, not_before)), 0)::float8 as waited
         from job join build on build.id = build_id where job.id = $1 and delivery_id is not null",
    )
    .bind(job)
    .fetch_optional(db)
    .await
}

/// Returns the id of the delivery that has asked for a build; `None` once it was forgotten.
pub async fn delivery_of(db: &PgPool, build: BuildId) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar("select delivery_id from build where id = $1").bind(build).fetch_one(db).await
}

/// Reads the facts about a job's build.
pub async fn facts_of(db: &mut PgConnection, job: JobId) -> sqlx::Result<BuildFacts> {
    sqlx::query_as(
        "select build.id, build.number, owner, repo.name, build.repo_id, private, clone_url, default_branch, build.kind, branch, tag, sha, built_sha,
             before_sha, message, pull_request, head_branch, head_repo, draft,
             coalesce(from_fork, pull_request is not null
                 and lower(head_repo) is distinct from lower(owner || '/' || repo.name)) as is_fork
         from job join build on build.id = build_id join repo on repo.id = build.repo_id where job.id = $1",
    )
    .bind(job)
    .fetch_one(db)
    .await
}
