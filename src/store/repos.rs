//! The repositories that GitHub, or another server, has sent webhooks about.

use std::time::Duration;

use sqlx::{PgConnection, PgPool};

use crate::domain::{InvalidName, RepoId, RepoName};

/// A repository as a payload describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoFacts {
    /// Server that has the repository: `github`, or the name of a `[[forge]]`.
    pub forge: String,
    /// The server's number of the repository, which survives renames.
    pub github_id: i64,
    /// Current name.
    pub name: RepoName,
    /// True when the repository is not public.
    pub private: bool,
    /// Branch to which badges and caches fall back.
    pub default_branch: String,
    /// Address from which git fetches the repository.
    pub clone_url: String,
}

/// Stores the facts about a repository and returns its key.
pub async fn upsert(tx: &mut PgConnection, facts: &RepoFacts) -> sqlx::Result<RepoId> {
    // Another repository that was deleted or renamed on GitHub may still have the name here; it is renamed. A name has at
    // most 100 characters, and a number at most 19.
    sqlx::query(
        "update repo set name = left(name, 80) || '.' || id
         where lower(owner) = lower($1) and lower(name) = lower($2) and (forge, github_id) <> ($3, $4)",
    )
    .bind(facts.name.owner())
    .bind(facts.name.name())
    .bind(&facts.forge)
    .bind(facts.github_id)
    .execute(&mut *tx)
    .await?;
    sqlx::query_scalar(
        "insert into repo (forge, github_id, owner, name, private, default_branch, clone_url)
         values ($1, $2, $3, $4, $5, $6, $7)
         on conflict (forge, github_id) do update set owner = excluded.owner, name = excluded.name,
             private = excluded.private, default_branch = excluded.default_branch, clone_url = excluded.clone_url
         returning id",
    )
    .bind(&facts.forge)
    .bind(facts.github_id)
    .bind(facts.name.owner())
    .bind(facts.name.name())
    .bind(facts.private)
    .bind(&facts.default_branch)
    .bind(&facts.clone_url)
    .fetch_one(tx)
    .await
}

/// Returns the stored facts about a repository.
pub async fn facts(db: &PgPool, repo: RepoId) -> sqlx::Result<Option<RepoFacts>> {
    type Row = (String, i64, String, bool, String, String);
    let row: Option<Row> = sqlx::query_as(
        "select forge, github_id, owner || '/' || name, private, default_branch, clone_url from repo where id = $1",
    )
    .bind(repo)
    .fetch_optional(db)
    .await?;
    row.map(|(forge, github_id, name, private, default_branch, clone_url)| {
        let name = name.parse().map_err(|error: InvalidName| sqlx::Error::Decode(error.into()))?;
        Ok(RepoFacts { forge, github_id, name, private, default_branch, clone_url })
    })
    .transpose()
}

/// Makes the next check of a repository on GitHub due at once. Returns false if the number is not known.
pub async fn check_soon(db: &PgPool, github_id: i64) -> sqlx::Result<bool> {
    let due = sqlx::query("update repo set heads_checked_at = null where forge = 'github' and github_id = $1")
        .bind(github_id);
    Ok(due.execute(db).await?.rows_affected() == 1)
}

/// Lists all repositories with their names.
pub async fn all(db: &PgPool) -> sqlx::Result<Vec<(RepoId, String)>> {
    sqlx::query_as("select id, owner || '/' || name from repo order by id").fetch_all(db).await
}

/// Lists up to `most` public repositories whose visibility was not checked for a while, for a service that knows people:
/// their numbers at GitHub and names.
pub async fn due_for_visibility(db: &PgPool, after: Duration, most: i64) -> sqlx::Result<Vec<(RepoId, i64, String)>> {
    sqlx::query_as(
        "select id, github_id, owner || '/' || name from repo
         where not private and (visibility_checked_at is null or visibility_checked_at < now() - $1::interval)
             and exists (select from person)
         order by visibility_checked_at nulls first limit $2",
    )
    .bind(after)
    .bind(most)
    .fetch_all(db)
    .await
}

/// Stores whether a repository is private, as of now; `None` if that is not known.
pub async fn set_visibility(db: &PgPool, repo: RepoId, private: Option<bool>) -> sqlx::Result<()> {
    sqlx::query("update repo set private = coalesce($2, private), visibility_checked_at = now() where id = $1")
        .bind(repo)
        .bind(private)
        .execute(db)
        .await?;
    Ok(())
}

/// Sets the number of jobs of a repository that run at once: 0 for any number, `None` for the number of everyone.
pub async fn set_slots(tx: &mut PgConnection, repo: RepoId, slots: Option<u16>) -> sqlx::Result<()> {
    sqlx::query("update repo set slots = $2 where id = $1 and slots is distinct from $2")
        .bind(repo)
        .bind(slots.map(i32::from))
        .execute(tx)
        .await?;
    Ok(())
}

/// Returns the next build number of a repository, and its default branch. The row stays locked until the transaction
/// ends, so numbers have no gaps.
pub async fn next_number(tx: &mut PgConnection, repo: RepoId) -> sqlx::Result<(i32, String)> {
    sqlx::query_as("update repo set last_build = last_build + 1 where id = $1 returning last_build, default_branch")
        .bind(repo)
        .fetch_one(tx)
        .await
}

/// Returns true if a server's number of a repository and its name are stored together.
pub async fn is_known(db: &PgPool, forge: &str, github_id: i64, name: &RepoName) -> sqlx::Result<bool> {
    sqlx::query_scalar(
        "select exists (select from repo where forge = $1 and github_id = $2 and owner = $3 and name = $4)",
    )
    .bind(forge)
    .bind(github_id)
    .bind(name.owner())
    .bind(name.name())
    .fetch_one(db)
    .await
}

/// Finds the repository with this number at GitHub.
pub async fn numbered(db: &PgPool, github_id: i64) -> sqlx::Result<Option<RepoId>> {
    sqlx::query_scalar("select id from repo where forge = 'github' and github_id = $1")
        .bind(github_id)
        .fetch_optional(db)
        .await
}

/// Finds the repository with this name, in any letter case.
pub async fn find(db: &PgPool, name: &RepoName) -> sqlx::Result<Option<RepoId>> {
    sqlx::query_scalar("select id from repo where lower(owner) = lower($1) and lower(name) = lower($2)")
        .bind(name.owner())
        .bind(name.name())
        .fetch_optional(db)
        .await
}
