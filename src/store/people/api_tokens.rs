//! Tokens that people have made for programs. A row has the digest of a token alone.

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use super::persons::{CONFIRMED_FOR, Person};
use crate::domain::{PersonId, RepoId, Right};

/// The most tokens of a person.
pub const MAX_TOKENS: i64 = 50;

/// A token as its person sees it later.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Listed {
    pub id: i64,
    pub name: String,
    pub scope: Right,
    /// Names of the repositories that it is for; `None` for all of its person.
    pub repos: Option<Vec<String>>,
    pub created_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    pub used_at: Option<DateTime<Utc>>,
}

/// A token that is good now.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct ApiToken {
    #[sqlx(rename = "token_id")]
    pub id: i64,
    #[sqlx(rename = "token_name")]
    pub name: String,
    #[sqlx(flatten)]
    pub person: Person,
    pub scope: Right,
    pub repos: Option<Vec<i64>>,
    /// True when it was not used for a while.
    pub is_unused: bool,
}

/// A token to be stored.
#[derive(Debug)]
pub struct New<'a> {
    pub person: PersonId,
    pub name: &'a str,
    pub digest: &'a [u8],
    pub scope: Right,
    pub repos: Option<&'a [RepoId]>,
    pub expires_at: DateTime<Utc>,
}

/// Stores a token. Returns false if the person has too many.
pub async fn insert(db: &PgPool, new: &New<'_>) -> sqlx::Result<bool> {
    let repos: Option<Vec<i64>> = new.repos.map(|repos| repos.iter().map(|repo| repo.0).collect());
    let inserted = sqlx::query(
        "insert into api_token (person_id, name, digest, scope, repos, expires_at)
         select $1, $2, $3, $4, $5, $6 where (select count(*) from api_token where person_id = $1) < $7",
    )
    .bind(new.person)
    .bind(new.name)
    .bind(new.digest)
    .bind(new.scope)
    .bind(repos)
    .bind(new.expires_at)
    .bind(MAX_TOKENS)
    .execute(db)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// Finds a token that is good now.
pub async fn find(db: &PgPool, digest: &[u8]) -> sqlx::Result<Option<ApiToken>> {
    sqlx::query_as(
        "select api_token.id as token_id, api_token.name as token_name, person.id, person.name, github_id, issuer,
             is_operator,
             scope, repos, used_at is null or used_at < now() - interval '1 minute' as is_unused
         from api_token join person on person.id = person_id
         where digest = $1 and expires_at > now() and (issuer is null or confirmed_at > now() - $2::interval)",
    )
    .bind(digest)
    .bind(CONFIRMED_FOR)
    .fetch_optional(db)
    .await
}

/// Records the use of a token.
pub async fn touch(db: &PgPool, token: i64) -> sqlx::Result<()> {
    sqlx::query("update api_token set used_at = now() where id = $1").bind(token).execute(db).await?;
    Ok(())
}

/// Returns true if a token is still good.
pub async fn is_good(db: &PgPool, token: i64) -> sqlx::Result<bool> {
    sqlx::query_scalar(
        "select exists (select from api_token join person on person.id = person_id
             where api_token.id = $1 and expires_at > now()
                 and (issuer is null or confirmed_at > now() - $2::interval))",
    )
    .bind(token)
    .bind(CONFIRMED_FOR)
    .fetch_one(db)
    .await
}

/// Lists the tokens of a person, the newest first.
pub async fn of(db: &PgPool, person: PersonId) -> sqlx::Result<Vec<Listed>> {
    sqlx::query_as(
        "select id, name, scope, created_at, expires_at, used_at,
             case when repos is not null then array(
                 select owner || '/' || repo.name from repo where repo.id = any(repos) order by 1) end as repos
         from api_token where person_id = $1 order by id desc",
    )
    .bind(person)
    .fetch_all(db)
    .await
}

/// Deletes a token of a person. Returns its name; `None` if the person has no such token.
pub async fn remove(db: &PgPool, person: PersonId, token: i64) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar("delete from api_token where id = $1 and person_id = $2 returning name")
        .bind(token)
        .bind(person)
        .fetch_optional(db)
        .await
}

/// Deletes tokens that have expired long ago. Returns their number.
pub async fn forget(db: &PgPool, most: i64) -> sqlx::Result<u64> {
    let deleted = sqlx::query(
        "delete from api_token where id in (
             select id from api_token where expires_at < now() - interval '90 days' limit $1)",
    )
    .bind(most)
    .execute(db)
    .await?;
    Ok(deleted.rows_affected())
}
