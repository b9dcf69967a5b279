//! Wishes: the statuses that GitHub should show. A wish is a level, not an event: a newer one replaces an unsent one,
//! and it stays due until GitHub has accepted it.

use std::time::Duration;

use sqlx::{PgConnection, PgPool};

use crate::domain::{BuildId, CommitState, RepoId, Sha, Status};

/// A status that a commit should show.
#[derive(Debug, Clone, Copy)]
pub struct NewWish<'a> {
    pub repo: RepoId,
    pub sha: &'a Sha,
    pub build: BuildId,
    pub context: &'a str,
    pub status: &'a Status,
    /// Path under the server's public address.
    pub target_path: &'a str,
}

/// Wishes that a commit shows this status. An older build never replaces the wish of a newer one.
pub async fn want(tx: &mut PgConnection, wish: &NewWish<'_>) -> sqlx::Result<()> {
    sqlx::query(
        "insert into wish (repo_id, sha, context, build_id, state, description, target_path)
         values ($1, $2, $3, $4, $5, $6, $7)
         on conflict (repo_id, sha, context) do update set
             build_id = excluded.build_id, state = excluded.state, description = excluded.description,
             target_path = excluded.target_path, wanted_seq = wish.wanted_seq + 1
         where excluded.build_id >= wish.build_id
           and (excluded.build_id, excluded.state, excluded.description, excluded.target_path)
               is distinct from (wish.build_id, wish.state, wish.description, wish.target_path)",
    )
    .bind(wish.repo)
    .bind(wish.sha)
    .bind(wish.context)
    .bind(wish.build)
    .bind(wish.status.state)
    .bind(&wish.status.description)
    .bind(wish.target_path)
    .execute(tx)
    .await?;
    Ok(())
}

/// A wish that is due now.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Wish {
    /// Key of the row.
    pub id: i64,
    /// Current owner of the repository.
    pub owner: String,
    /// Current name of the repository.
    pub name: String,
    pub sha: Sha,
    /// Context of the status.
    pub context: String,
    pub state: CommitState,
    pub description: String,
    /// Page of the build, as a path under the server's public address.
    pub target_path: String,
    /// Version of the wish, which [`sent`] expects.
    pub wanted_seq: i64,
    /// Number of failures since the last success.
    pub tries: i32,
}

/// Takes the most overdue wish that no other poster holds, for the duration of the transaction.
///
/// The hold is an advisory lock, not a row lock: a newer wish for the same status can be written while an older one is
/// being sent, and stays due.
pub async fn take(tx: &mut PgConnection) -> sqlx::Result<Option<Wish>> {
    // The lock is tried on the candidates one by one, in order, until one is free. `materialized` keeps the planner
    // from calling the lock function on rows beyond the limit.
    let held: Option<i64> = sqlx::query_scalar(
        "with owed as materialized (
             select id from wish where sent_seq < wanted_seq and not_before <= now() order by not_before, id limit 16
         )
         select id from owed where pg_try_advisory_xact_lock(hashtext('trainyard.wish'), id::int) limit 1",
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(id) = held else { return Ok(None) };
    // Read again under the lock: the wish may have been sent and replaced since the first statement.
    sqlx::query_as(
        "select wish.id, owner, name, sha, context, state, description, target_path, wanted_seq, tries
         from wish join repo on repo.id = repo_id
         where wish.id = $1 and sent_seq < wanted_seq and not_before <= now()",
    )
    .bind(id)
    .fetch_optional(tx)
    .await
}

/// Records that GitHub accepted the wish in its version `wanted_seq`.
pub async fn sent(db: &PgPool, wish: &Wish) -> sqlx::Result<()> {
    sqlx::query(
        "update wish set sent_seq = $2, tries = 0, not_before = now(), last_error = null
         where id = $1 and sent_seq < $2",
    )
    .bind(wish.id)
    .bind(wish.wanted_seq)
    .execute(db)
    .await?;
    Ok(())
}

/// Records that sending failed. The next try comes after `delay`.
pub async fn failed(db: &PgPool, wish: &Wish, error: &str, delay: Duration) -> sqlx::Result<()> {
    sqlx::query("update wish set tries = tries + 1, not_before = now() + $2, last_error = $3 where id = $1")
        .bind(wish.id)
        .bind(delay)
        .bind(error)
        .execute(db)
        .await?;
    Ok(())
}

/// Makes every wish due now, when the reason to wait no longer exists.
pub async fn all_due(db: &PgPool) -> sqlx::Result<()> {
    sqlx::query("update wish set not_before = now() where sent_seq < wanted_seq and not_before > now()")
        .execute(db)
        .await?;
    Ok(())
}
