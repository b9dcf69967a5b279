//! Rows of Travis's API, and their form there.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::domain::{BuildId, BuildState, JobId, JobState, RepoId, Sha, TriggerKind, Verdict};
use crate::travis::notifications::{build_word, event_type, job_word};
use crate::web::access::Sight;

#[derive(Debug, sqlx::FromRow)]
pub(super) struct Repo {
    pub(super) id: RepoId,
    github_id: i64,
    owner: String,
    name: String,
    private: bool,
    default_branch: String,
}

/// Makes a query of [`Repo`]s, from the clauses that follow.
macro_rules! travis_repo {
    ($rest:literal) => {
        concat!("select id, github_id, owner, name, private, default_branch from repo ", $rest)
    };
}

pub(super) async fn repo(db: &PgPool, id: RepoId) -> sqlx::Result<Option<Repo>> {
    sqlx::query_as(travis_repo!("where id = $1")).bind(id).fetch_optional(db).await
}

impl Repo {
    pub(super) fn described(&self) -> Value {
        let Self { id: RepoId(id), github_id, owner, name, private, default_branch } = self;
        json!({
            "@type": "repository", "@href": format!("/repo/{id}"), "@representation": "standard", "id": id, "name": name,
            "slug": format!("{owner}/{name}"), "description": null, "github_id": github_id,
            "vcs_id": github_id.to_string(), "vcs_type": "GithubRepository", "github_language": null, "active": true,
            "private": private,
            "owner": {"@type": "user", "@href": null, "@representation": "minimal", "id": null, "login": owner},
            "default_branch": branch(*id, default_branch), "starred": false,
        })
    }
}

/// Describes a repository in a few fields.
pub(super) fn repository(RepoId(id): RepoId, owner: &str, name: &str) -> Value {
    json!({
        "@type": "repository", "@href": format!("/repo/{id}"), "@representation": "minimal", "id": id, "name": name,
        "slug": format!("{owner}/{name}"),
    })
}

fn branch(repo: i64, name: &str) -> Value {
    let mut href = format!("/repo/{repo}/branch/");
    href.extend(url::form_urlencoded::byte_serialize(name.as_bytes()));
    json!({"@type": "branch", "@href": href, "@representation": "minimal", "name": name})
}

fn time(at: Option<DateTime<Utc>>) -> Option<String> {
    at.map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true))
}

#[derive(Debug, sqlx::FromRow)]
pub(super) struct Build {
    pub(super) id: BuildId,
    repo_id: RepoId,
    owner: String,
    name: String,
    private: bool,
    number: i32,
    state: BuildState,
    kind: TriggerKind,
    branch: Option<String>,
    tag: Option<String>,
    built_sha: Sha,
    message: Option<String>,
    author: Option<String>,
    compare_url: Option<String>,
    pull_request: Option<i32>,
    pull_request_title: Option<String>,
    created_at: DateTime<Utc>,
    started_at: Option<DateTime<Utc>>,
    finished_at: Option<DateTime<Utc>>,
    previous: Option<BuildState>,
}

/// Makes a query of [`Build`]s, from the clauses that follow the join.
macro_rules! travis_builds {
    ($rest:literal) => {
        concat!(
            "select build.id, repo_id, owner, name, private, number, state, kind, branch, tag, built_sha,
                 left(message, 4096) as message, author, compare_url, pull_request, pull_request_title,
                 build.created_at, started_at, finished_at,
                 (select earlier.state from build earlier
                  where earlier.repo_id = build.repo_id and earlier.number < build.number
                      and earlier.branch is not distinct from build.branch
                      and earlier.pull_request is not distinct from build.pull_request
                      and earlier.finished_at is not null
                  order by earlier.number desc limit 1) as previous
             from build join repo on repo.id = repo_id ",
            $rest
        )
    };
}

/// Lists builds of a repository, newest first, and counts all of them.
pub(super) async fn builds(
    db: &PgPool,
    repo: RepoId,
    branch: Option<&str>,
    offset: i64,
    limit: i64,
) -> sqlx::Result<(Vec<Build>, i64)> {
    let builds = sqlx::query_as(travis_builds!(
        "where repo_id = $1 and ($2::text is null or branch = $2) order by number desc offset $3 limit $4"
    ))
    .bind(repo)
    .bind(branch)
    .bind(offset)
    .bind(limit)
    .fetch_all(db)
    .await?;
    let count =
        sqlx::query_scalar("select count(*) from build where repo_id = $1 and ($2::text is null or branch = $2)")
            .bind(repo)
            .bind(branch)
            .fetch_one(db)
            .await?;
    Ok((builds, count))
}

pub(super) async fn build(db: &PgPool, id: BuildId) -> sqlx::Result<Option<Build>> {
    sqlx::query_as(travis_builds!("where build.id = $1")).bind(id).fetch_optional(db).await
}

/// Lists the unfinished builds of an owner that are in sight, newest first.
pub(super) async fn active(db: &PgPool, sight: &Sight, owner: &str, limit: i64) -> sqlx::Result<Vec<Build>> {
    sqlx::query_as(travis_builds!(
        "where lower(owner) = lower($1) and ($3 or not private or repo.id = any($4)) and state in ('queued', 'running') and build.id in (
             select build_id from job where state = 'running'
             union select build_id from job where state = 'queued' and has_requirements
             union select build_id from job where state = 'queued' and not has_requirements)
         order by build.id desc limit $2"
    ))
    .bind(owner)
    .bind(limit)
    .bind(sight.everything)
    .bind(&sight.repos)
    .fetch_all(db)
    .await
}

impl Build {
    fn repository(&self) -> Value {
        repository(self.repo_id, &self.owner, &self.name)
    }

    /// Describes the build in a few fields.
    pub(super) fn minimal(&self) -> Value {
        let BuildId(id) = self.id;
        json!({
            "@type": "build", "@href": format!("/build/{id}"), "@representation": "minimal", "id": id,
            "number": self.number.to_string(), "state": build_word(self.state),
        })
    }

    fn commit(&self) -> Value {
        let reference = match (&self.pull_request, &self.tag, &self.branch) {
            (Some(number), ..) => Some(format!("refs/pull/{number}/merge")),
            (None, Some(tag), _) => Some(format!("refs/tags/{tag}")),
            (None, None, branch) => branch.as_ref().map(|branch| format!("refs/heads/{branch}")),
        };
        json!({
            "@type": "commit", "@representation": "minimal", "id": self.id.0, "sha": self.built_sha, "ref": reference,
            "message": self.message, "compare_url": self.compare_url, "committed_at": time(Some(self.created_at)),
        })
    }

    pub(super) fn described(&self, jobs: Vec<Value>, may_write: bool) -> Value {
        let BuildId(id) = self.id;
        let duration = self.started_at.zip(self.finished_at).map(|(from, to)| (to - from).num_seconds());
        let tag = self.tag.as_ref().map(|tag| json!({"@type": "tag", "@representation": "minimal", "name": tag}));
        json!({
            "@type": "build", "@href": format!("/build/{id}"), "@representation": "standard",
            "@permissions": {"read": true, "cancel": may_write, "restart": may_write}, "id": id,
            "number": self.number.to_string(), "state": build_word(self.state), "duration": duration,
            "event_type": event_type(self.kind), "previous_state": self.previous.map(build_word),
            "pull_request_title": self.pull_request_title, "pull_request_number": self.pull_request,
            "started_at": time(self.started_at), "finished_at": time(self.finished_at), "private": self.private,
            "repository": self.repository(),
            "branch": self.branch.as_ref().or(self.tag.as_ref()).map(|name| branch(self.repo_id.0, name)), "tag": tag,
            "commit": self.commit(), "jobs": jobs, "stages": [],
            "created_by": {"@type": "user", "@href": null, "@representation": "minimal", "id": null, "login": self.author},
            "updated_at": time(self.finished_at.or(self.started_at).or(Some(self.created_at))),
        })
    }
}

#[derive(Debug, sqlx::FromRow)]
pub(super) struct Job {
    pub(super) id: JobId,
    pub(super) build_id: BuildId,
    number: i32,
    state: JobState,
    verdict: Option<Verdict>,
    allow_failure: bool,
    pub(super) attempt: i32,
    pub(super) log_length: i64,
    created_at: DateTime<Utc>,
    started_at: Option<DateTime<Utc>>,
    pub(super) finished_at: Option<DateTime<Utc>>,
}

/// Makes a query of [`Job`]s, from the clauses that follow.
macro_rules! travis_jobs {
    ($rest:literal) => {
        concat!(
            "select id, build_id, number, state, verdict, allow_failure, attempt, log_length, created_at, started_at,
                 finished_at
             from job ",
            $rest
        )
    };
}

pub(super) async fn jobs(db: &PgPool, builds: &[BuildId]) -> sqlx::Result<Vec<Job>> {
    let builds: Vec<i64> = builds.iter().map(|build| build.0).collect();
    sqlx::query_as(travis_jobs!("where build_id = any($1) order by build_id, number")).bind(builds).fetch_all(db).await
}

pub(super) async fn job(db: &PgPool, id: JobId) -> sqlx::Result<Option<Job>> {
    sqlx::query_as(travis_jobs!("where id = $1")).bind(id).fetch_optional(db).await
}

impl Job {
    pub(super) fn minimal(&self) -> Value {
        let JobId(id) = self.id;
        json!({"@type": "job", "@href": format!("/job/{id}"), "@representation": "minimal", "id": id})
    }

    pub(super) fn described(&self, build: &Build, may_write: bool) -> Value {
        let JobId(id) = self.id;
        json!({
            "@type": "job", "@href": format!("/job/{id}"), "@representation": "standard",
            "@permissions": {"read": true, "cancel": may_write, "restart": may_write}, "id": id,
            "allow_failure": self.allow_failure, "number": format!("{}.{}", build.number, self.number),
            "state": job_word(self.state, self.verdict), "started_at": time(self.started_at),
            "finished_at": time(self.finished_at),
            "build": build.minimal(),
            "queue": null, "repository": build.repository(), "commit": build.commit(),
            "owner": {"@type": "user", "@href": null, "@representation": "minimal", "id": null, "login": build.owner},
            "stage": null, "created_at": time(Some(self.created_at)),
            "updated_at": time(self.finished_at.or(self.started_at).or(Some(self.created_at))),
        })
    }
}

/// The latest build of a repository, and the latest finished one before it.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct Latest {
    owner: String,
    name: String,
    number: i32,
    state: BuildState,
    at: DateTime<Utc>,
    previous: Option<BuildState>,
}

/// Reads the latest build of a repository or branch. Pull requests do not count.
pub(super) async fn latest(db: &PgPool, repo: RepoId, branch: Option<&str>) -> sqlx::Result<Option<Latest>> {
    sqlx::query_as(
        "select owner, name, number, state, coalesce(finished_at, started_at, build.created_at) as at,
             (select earlier.state from build earlier
              where earlier.repo_id = build.repo_id and earlier.number < build.number and earlier.kind <> 'pull_request'
                  and ($2::text is null or earlier.branch = $2) and earlier.finished_at is not null
              order by earlier.number desc limit 1) as previous
         from build join repo on repo.id = repo_id
         where repo_id = $1 and kind <> 'pull_request' and ($2::text is null or branch = $2)
         order by number desc limit 1",
    )
    .bind(repo)
    .bind(branch)
    .fetch_optional(db)
    .await
}

impl Latest {
    /// Returns the line of a cctray document.
    pub(super) fn project(&self, public: &str) -> String {
        let Self { owner, name, number, .. } = self;
        let activity = if self.state == BuildState::Running { "Building" } else { "Sleeping" };
        let finished = if self.state.is_finished() { Some(self.state) } else { self.previous };
        let status = match finished {
            Some(BuildState::Passed) => "Success",
            Some(BuildState::Failed) => "Failure",
            Some(BuildState::Errored) => "Error",
            Some(BuildState::Canceled) => "Canceled",
            _ => "Unknown",
        };
        let at = self.at.format("%Y-%m-%dT%H:%M:%S%.3f+0000");
        // Names of repositories have no characters that XML would need escaped.
        format!(
            "<Project name=\"{owner}/{name}\" activity=\"{activity}\" lastBuildStatus=\"{status}\" \
             lastBuildLabel=\"{number}\" lastBuildTime=\"{at}\" webUrl=\"{public}/{owner}/{name}\"/>\n"
        )
    }
}
