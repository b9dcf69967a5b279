//! What GitHub should show. A wish is a level, not an event: a newer one replaces an unsent one, and it stays owed until
//! GitHub has taken it.

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
    /// A path under the server's public address.
    pub target_path: &'a str,
}

/// Wishes that a commit shows this status. An older build never replaces the wish of a newer one.
///
/// # Errors
/// When Postgres cannot be asked.
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

/// A wish that is to be sent now.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Wish {
    /// Key of its row.
    pub id: i64,
    /// The repository's owner and name as they are now.
    pub owner: String,
    /// See `owner`.
    pub name: String,
    /// The commit.
    pub sha: Sha,
    /// The status's context.
    pub context: String,
    /// The wanted state.
    pub state: CommitState,
    /// The wanted description.
    pub description: String,
    /// The page, as a path under the server's public address.
    pub target_path: String,
    /// The wish's age, to be given back to [`sent`].
    pub wanted_seq: i64,
    /// How often sending has failed since it last succeeded.
    pub tries: i32,
}

/// Takes the most overdue wish that no other poster holds, for as long as the transaction lasts.
///
/// The hold is an advisory lock, not a row lock: a newer wish for the same status can be written while an older one is
/// on its way, and stays owed.
///
/// # Errors
/// When Postgres cannot be asked.
pub async fn take(tx: &mut PgConnection) -> sqlx::Result<Option<Wish>> {
    // The lock is tried on the candidates one by one, in order, until one is free: materialized keeps the planner from
    // calling the lock function on rows that the limit would have cut off.
    let held: Option<i64> = sqlx::query_scalar(
        "with owed as materialized (
             select id from wish where sent_seq < wanted_seq and not_before <= now() order by not_before, id limit 16
         )
         select id from owed where pg_try_advisory_xact_lock(hashtext('trainyard.wish'), id::int) limit 1",
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(id) = held else { return Ok(None) };
    // Read again under the lock: what the first statement saw may have been sent, and replaced, in between.
    sqlx::query_as(
        "select wish.id, owner, name, sha, context, state, description, target_path, wanted_seq, tries
         from wish join repo on repo.id = repo_id
         where wish.id = $1 and sent_seq < wanted_seq and not_before <= now()",
    )
    .bind(id)
    .fetch_optional(tx)
    .await
}

/// Records that GitHub took the wish as it was at `wanted_seq`.
///
/// # Errors
/// When Postgres cannot be asked.
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

/// Records that sending failed; the next try is `delay` away.
///
/// # Errors
/// When Postgres cannot be asked.
pub async fn failed(db: &PgPool, wish: &Wish, error: &str, delay: Duration) -> sqlx::Result<()> {
    sqlx::query("update wish set tries = tries + 1, not_before = now() + $2, last_error = $3 where id = $1")
        .bind(wish.id)
        .bind(delay)
        .bind(error)
        .execute(db)
        .await?;
    Ok(())
}

/// Makes every wish due now; for when the reason for waiting is gone.
///
/// # Errors
/// When Postgres cannot be asked.
pub async fn all_due(db: &PgPool) -> sqlx::Result<()> {
    sqlx::query("update wish set not_before = now() where sent_seq < wanted_seq and not_before > now()")
        .execute(db)
        .await?;
    Ok(())
}
