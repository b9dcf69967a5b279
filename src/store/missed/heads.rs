//! Heads of branches and tags as a check has seen them last. Of a head that has changed since, a webhook must have come.

use std::time::Duration;

use sqlx::{PgConnection, PgPool};

use super::{FOUND, MAX_FOUND};
use crate::domain::{BuildRequest, RepoId, Sha, TriggerKind};
use crate::store::requests;

/// Age of a build from which its repository is no longer checked.
const ACTIVE: Duration = Duration::from_secs(90 * 24 * 3600);

/// Returns the repositories that were built lately and whose last check was longer ago than `interval`, or was recorded by
/// a clock that was ahead.
pub async fn due(db: &PgPool, interval: Duration) -> sqlx::Result<Vec<RepoId>> {
    sqlx::query_scalar(
        "select id from repo
         where (heads_checked_at is null or heads_checked_at not between now() - $1 and now())
             and (select max(created_at) from build where repo_id = repo.id) > now() - $2
         order by heads_checked_at nulls first, id",
    )
    .bind(interval)
    .bind(ACTIVE)
    .fetch_all(db)
    .await
}

/// Lists the names of the repositories that were built lately.
pub async fn active(db: &PgPool) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "select owner || '/' || name from repo
         where (select max(created_at) from build where repo_id = repo.id) > now() - $1 order by id",
    )
    .bind(ACTIVE)
    .fetch_all(db)
    .await
}

/// Records that a repository was asked, with or without an answer.
pub async fn record_check(db: &PgPool, repo: RepoId) -> sqlx::Result<()> {
    sqlx::query("update repo set heads_checked_at = now() where id = $1").bind(repo).execute(db).await?;
    Ok(())
}

#[derive(sqlx::FromRow)]
struct Changed {
    git_ref: String,
    sha: Sha,
    before: Option<Sha>,
}

/// Compares the heads of a repository with those of the last check, and requests builds of those that have changed and
/// were not built. The first check of a repository only records them. Returns the number of requests.
pub async fn compare(tx: &mut PgConnection, repo: RepoId, heads: &[(String, Sha)]) -> sqlx::Result<usize> {
    let (refs, shas): (Vec<&str>, Vec<&str>) =
        heads.iter().map(|(git_ref, sha)| (git_ref.as_str(), sha.as_str())).unzip();
    // Two checks at once would find the same.
    sqlx::query("select 1 from repo where id = $1 for update").bind(repo).execute(&mut *tx).await?;
    let changed: Vec<Changed> = sqlx::query_as(
        "select now_at.ref as git_ref, now_at.sha, head.sha as before
         from unnest($2::text[], $3::text[]) as now_at (ref, sha)
             left join head on head.repo_id = $1 and head.ref = now_at.ref
         where now_at.sha is distinct from head.sha
             and exists (select from head where repo_id = $1)
             and not exists (
                 select from build where build.repo_id = $1 and build.sha = now_at.sha
                     and now_at.ref = coalesce('refs/tags/' || tag, 'refs/heads/' || branch)
                     and kind <> 'pull_request')
         order by now_at.ref",
    )
    .bind(repo)
    .bind(&refs)
    .bind(&shas)
    .fetch_all(&mut *tx)
    .await?;
    let mut requested = 0;
    let mut left: Vec<&str> = Vec::new();
    for head in &changed {
        let request = request(repo, head);
        let is_requested = requested < MAX_FOUND && requests::insert(&mut *tx, &request).await?.is_some();
        if is_requested { requested += 1 } else { left.push(&head.git_ref) }
    }
    // The next check finds those that were too many.
    sqlx::query("delete from head where repo_id = $1 and ref <> all($2)")
        .bind(repo)
        .bind(&refs)
        .execute(&mut *tx)
        .await?;
    sqlx::query(
        "insert into head (repo_id, ref, sha)
         select $1, ref, sha from unnest($2::text[], $3::text[]) as now_at (ref, sha) where ref <> all($4)
         on conflict (repo_id, ref) do update set sha = excluded.sha where head.sha <> excluded.sha",
    )
    .bind(repo)
    .bind(&refs)
    .bind(&shas)
    .bind(&left)
    .execute(tx)
    .await?;
    Ok(requested)
}

fn request(repo: RepoId, head: &Changed) -> BuildRequest {
    let tag = head.git_ref.strip_prefix("refs/tags/");
    let branch = head.git_ref.strip_prefix("refs/heads/");
    BuildRequest {
        repo,
        kind: if tag.is_some() { TriggerKind::Tag } else { TriggerKind::Push },
        branch: branch.or(tag).unwrap_or_default().to_owned(),
        sha: Some(head.sha.clone()),
        before: head.before.clone(),
        message: None,
        requested_by: FOUND.to_owned(),
        configs: Vec::new(),
        pull_request: None,
        trainings: None,
    }
}
