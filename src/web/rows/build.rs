//! Rows of builds.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgPool;
use utoipa::ToSchema;

use crate::domain::{BuildId, BuildState, JobId, RepoId, Sha, TriggerKind};
use crate::web::access::{Repo, Sight};
use crate::web::error::Error;
use crate::web::show::{Forge, Mark, When, took};

/// A build with its repository.
#[derive(Debug, Clone, Serialize, ToSchema, sqlx::FromRow)]
#[schema(as = BuildFacts)]
pub(in crate::web) struct Build {
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

/// Number of builds among which those in sight are looked for first.
const LOOKED_AT: i64 = 500;

/// Lists the latest builds of all repositories in sight, with ids below `before` if it is given.
pub(in crate::web) async fn latest(
    db: &PgPool,
    sight: &Sight,
    before: Option<BuildId>,
    limit: i64,
) -> sqlx::Result<Vec<Build>> {
    // An index can begin at a number, but not at `before is null or id < before`.
    let before = before.unwrap_or(BuildId(i64::MAX));
    if sight.everything {
        return sqlx::query_as(select_builds!("where build.id < $1 order by build.id desc limit $2"))
            .bind(before)
            .bind(limit)
            .fetch_all(db)
            .await;
    }
    // Mostly there are enough in sight among the newest of all.
    let newest: Vec<Build> = sqlx::query_as(select_builds!(
        "where (not private or repo.id = any($2)) and build.id < $3
             and build.id >= coalesce((select id from build where id < $3 order by id desc offset $4 limit 1), 0)
         order by build.id desc limit $1"
    ))
    .bind(limit)
    .bind(&sight.repos)
    .bind(before)
    .bind(LOOKED_AT)
    .fetch_all(db)
    .await?;
    if i64::try_from(newest.len()) == Ok(limit) {
        return Ok(newest);
    }
    // The latest of each repository: a viewer of few repositories must not make Postgres read the builds of all others.
    sqlx::query_as(select_builds!(
        "where build.id in (
             select last.id from repo, lateral (
                 select id from build where repo_id = repo.id and id < $3 order by number desc limit $1
             ) last
             where not private or repo.id = any($2) order by last.id desc limit $1
         ) order by build.id desc"
    ))
    .bind(limit)
    .bind(&sight.repos)
    .bind(before)
    .fetch_all(db)
    .await
}

/// Lists the last build of each of these repositories.
pub(in crate::web) async fn last_of(db: &PgPool, repos: &[RepoId]) -> sqlx::Result<Vec<(RepoId, Build)>> {
    let last: Vec<(RepoId, BuildId)> = sqlx::query_as(
        "select repo_id, id from unnest($1::bigint[]) as repo, lateral (
             select repo_id, id from build where repo_id = repo order by number desc limit 1
         ) last",
    )
    .bind(repos)
    .fetch_all(db)
    .await?;
    let ids: Vec<BuildId> = last.iter().map(|(_, build)| *build).collect();
    let builds: Vec<Build> =
        sqlx::query_as(select_builds!("where build.id = any($1)")).bind(&ids).fetch_all(db).await?;
    let repo_of = |build: &Build| last.iter().find(|(_, id)| *id == build.id).map(|(repo, _)| *repo);
    Ok(builds.into_iter().filter_map(|build| Some((repo_of(&build)?, build))).collect())
}

/// Finds builds, each with its repository, and true if that is private.
pub(in crate::web) async fn with_repos(db: &PgPool, ids: &[BuildId]) -> sqlx::Result<Vec<(RepoId, bool, Build)>> {
    let builds: Vec<Build> = sqlx::query_as(select_builds!("where build.id = any($1)")).bind(ids).fetch_all(db).await?;
    let repos: Vec<(BuildId, RepoId, bool)> = sqlx::query_as(
        "select build.id, repo.id, private from build join repo on repo.id = repo_id where build.id = any($1)",
    )
    .bind(ids)
    .fetch_all(db)
    .await?;
    let of = |build: Build| {
        let (_, repo, is_private) = repos.iter().find(|(id, ..)| *id == build.id)?;
        Some((*repo, *is_private, build))
    };
    Ok(builds.into_iter().filter_map(of).collect())
}

/// Finds the build of a job.
pub(in crate::web) async fn of_job(db: &PgPool, job: JobId) -> sqlx::Result<Option<Build>> {
    sqlx::query_as(select_builds!("where build.id = (select build_id from job where id = $1)"))
        .bind(job)
        .fetch_optional(db)
        .await
}

/// Lists the builds of a repository, newest first: those pushed to `branch` if it is given, with numbers below
/// `before`.
pub(in crate::web) async fn history(
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
pub(in crate::web) async fn build(db: &PgPool, repo: &Repo, number: &str) -> Result<Build, Error> {
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
    pub(in crate::web) fn path(&self) -> String {
        format!("/{}/{}/builds/{}", self.owner, self.name, self.number)
    }

    /// Returns true while the build waits for its approval.
    pub(in crate::web) fn is_unapproved(&self) -> bool {
        self.needs_approval && self.approved_by.is_none() && !self.state.is_finished()
    }

    pub(in crate::web) fn mark(&self) -> Mark {
        if self.is_unapproved() { Mark::UNAPPROVED } else { self.state.into() }
    }

    /// Returns the first line of the commit message, or another line that describes the build.
    pub(in crate::web) fn subject(&self) -> &str {
        let first_line = self.message.as_deref().and_then(|message| message.lines().next());
        [self.pull_request_title.as_deref(), first_line, self.tag.as_deref()]
            .into_iter()
            .flatten()
            .find(|text| !text.trim().is_empty())
            .unwrap_or("(no commit message)")
    }

    /// Returns the rest of the commit message.
    pub(in crate::web) fn body(&self) -> &str {
        let message = self.message.as_deref().unwrap_or_default();
        let (first, rest) = message.split_once('\n').unwrap_or((message, ""));
        if self.pull_request_title.as_deref().is_some_and(|title| title != first) {
            message.trim()
        } else {
            rest.trim()
        }
    }

    /// Returns the branch or tag whose commit was built.
    pub(in crate::web) fn reference(&self) -> &str {
        [&self.tag, &self.head_branch, &self.branch].into_iter().flatten().next().map_or("", String::as_str)
    }

    /// Returns the author, or else the sender.
    pub(in crate::web) fn person(&self) -> &str {
        self.author.as_deref().or(self.sender.as_deref()).unwrap_or_default()
    }

    /// Returns the kind of the trigger in words, with the number of a build on Travis.
    pub(in crate::web) fn event(&self) -> String {
        match &self.travis_number {
            Some(number) => format!("{} #{number}", self.kind),
            None => self.kind.to_string(),
        }
    }

    /// Returns the time at which the build was created.
    pub(in crate::web) fn when(&self) -> When {
        When::new(self.created_at)
    }

    /// Returns how long the build took, or has been running.
    pub(in crate::web) fn took(&self) -> Option<String> {
        took(self.started_at, self.finished_at)
    }

    /// Returns the pages of the repository at its forge.
    pub(in crate::web) fn forge(&self) -> Forge {
        Forge::of(&self.clone_url)
    }
}
