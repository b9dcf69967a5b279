//! Wishes: the statuses, check runs and comments that GitHub should show. A wish is a level, not an event: a newer one
//! replaces an unsent one, and it stays due until GitHub has accepted it, or has refused it for too long.

mod answers;
mod failures;
mod requests;

pub use answers::{Answer, answer};
pub use failures::{Failure, GivenUp, Patience, Retry, failed, given_up};
pub use requests::{Requests, quiet, request, requests};

use sqlx::{PgConnection, PgPool};

use crate::domain::{BuildId, CommitState, RepoId, Sha, Status};

/// Condition of a wish that still has to be sent.
macro_rules! owed {
    () => {
        "sent_seq < wanted_seq and given_up_seq < wanted_seq"
    };
}
use owed;

/// [`Urgency`] of a wish, as its number.
macro_rules! urgency {
    () => {
        "case when tried_seq = wanted_seq then 2 when wish.state = 'pending' then 1 else 0 end"
    };
}

/// Kind of what GitHub should show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "wish_kind", rename_all = "snake_case")]
pub enum Kind {
    /// A status of a commit.
    Status,
    /// A check run of a commit.
    CheckRun,
    /// Our comment on a pull request, which is changed as its builds go on.
    Comment,
    /// An answer in words to a person.
    Reply,
    /// A reaction to a person's comment.
    Reaction,
}

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
    insert(tx, wish, Kind::Status).await
}

/// Wishes that a commit shows a check run with this status, whose name is the context.
pub async fn want_check(tx: &mut PgConnection, wish: &NewWish<'_>) -> sqlx::Result<()> {
    insert(tx, wish, Kind::CheckRun).await
}

/// Wishes that our comment on a pull request shows its builds, of which this one has changed. The pull request has one
/// comment, whatever its head is, and older builds may be part of it.
pub async fn want_comment(tx: &mut PgConnection, wish: &NewWish<'_>, pull_request: i32) -> sqlx::Result<()> {
    let context = format!("pull request #{pull_request}");
    insert(tx, &NewWish { sha: &Sha::zero(), context: &context, ..*wish }, Kind::Comment).await
}

async fn insert(tx: &mut PgConnection, wish: &NewWish<'_>, kind: Kind) -> sqlx::Result<()> {
    sqlx::query(
        "insert into wish (repo_id, sha, context, build_id, state, description, target_path, kind)
         values ($1, $2, $3, $4, $5, $6, $7, $8)
         on conflict (repo_id, sha, context) do update set
             shown_id = case when wish.build_id = excluded.build_id or wish.kind = 'comment' then wish.shown_id end,
             build_id = greatest(wish.build_id, excluded.build_id), state = excluded.state, description = excluded.description,
             target_path = excluded.target_path, wanted_seq = wish.wanted_seq + 1
         where (excluded.build_id >= wish.build_id or wish.kind = 'comment')
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
    .bind(kind)
    .execute(tx)
    .await?;
    Ok(())
}

/// The order in which wishes are sent, and in which they may use up the requests that are left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, sqlx::Type)]
#[repr(i32)]
pub enum Urgency {
    /// The end of a build.
    Result = 0,
    /// News of a build that goes on, which its end replaces.
    Progress = 1,
    /// A wish that failed in its present version.
    Retry = 2,
}

/// A wish that is due now.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Wish {
    /// Key of the row.
    pub id: i64,
    pub repo_id: RepoId,
    /// GitHub's number of the repository.
    pub github_id: i64,
    /// Current owner of the repository.
    pub owner: String,
    /// Current name of the repository.
    pub name: String,
    pub sha: Sha,
    pub build_id: BuildId,
    /// Context of the status, or name of the check run.
    pub context: String,
    pub kind: Kind,
    /// GitHub's number of the check run or of our comment, once it was made.
    pub shown_id: Option<i64>,
    /// SHA-256 of the text that our comment has at GitHub.
    pub shown_hash: Option<Vec<u8>>,
    /// GitHub's number of the comment that is answered.
    pub comment_id: Option<i64>,
    /// Number of the build's pull request.
    pub pull_request: Option<i32>,
    pub state: CommitState,
    /// Description of a status, words of a reply, or name of a reaction.
    pub description: String,
    /// Page of the build, as a path under the server's public address.
    pub target_path: String,
    /// Version of the wish, which [`sent`] expects.
    pub wanted_seq: i64,
    /// Number of failures of this version.
    pub tries: i32,
    pub urgency: Urgency,
}

/// The wishes that [`take`] chooses from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Least urgent kind of wish; `None` for no wish of a repository that is not in `shares`.
    pub least: Option<Urgency>,
    /// Repositories with another least urgent kind.
    pub shares: Vec<(RepoId, Urgency)>,
    /// True when wishes that failed go before all others.
    pub retries_first: bool,
    /// Repositories whose wishes have to wait.
    pub without: Vec<RepoId>,
}

/// Takes the most urgent due wish that no other poster holds, for the duration of the transaction.
///
/// The hold is an advisory lock, not a row lock: a newer wish for the same status can be written while an older one is
/// being sent, and stays due.
pub async fn take(tx: &mut PgConnection, choice: &Choice) -> sqlx::Result<Option<Wish>> {
    // The lock is tried on the candidates one by one, in order, until one is free. `materialized` keeps the planner
    // from calling the lock function on rows beyond the limit.
    let held: Option<i64> = sqlx::query_scalar(concat!(
        "with owed as materialized (
             select id from wish
             left join unnest($4::bigint[], $5::int[]) as share (repo, least) on share.repo = repo_id
             where ",
        owed!(),
        " and (tried_seq < wanted_seq or not_before <= now()) and ",
        urgency!(),
        " <= coalesce(share.least, $1) and repo_id <> all($2)
             order by $3 and tried_seq = wanted_seq desc, ",
        urgency!(),
        ", not_before, id limit 16
         )
         select id from owed where pg_try_advisory_xact_lock(hashtext('trainyard.wish'), id::int) limit 1",
    ))
    .bind(choice.least)
    .bind(&choice.without)
    .bind(choice.retries_first)
    .bind(choice.shares.iter().map(|(repo, _)| *repo).collect::<Vec<_>>())
    .bind(choice.shares.iter().map(|(_, least)| *least as i32).collect::<Vec<_>>())
    .fetch_optional(&mut *tx)
    .await?;
    let Some(id) = held else { return Ok(None) };
    // Read again under the lock: the wish may have been sent and replaced since the first statement.
    sqlx::query_as(concat!(
        "select wish.id, wish.repo_id, github_id, owner, name, wish.sha, build_id, context, wish.kind, shown_id, shown_hash, comment_id,
             pull_request, wish.state, description, target_path, wanted_seq,
             case when tried_seq = wanted_seq then tries else 0 end as tries, ",
        urgency!(),
        " as urgency
         from wish join repo on repo.id = wish.repo_id join build on build.id = build_id
         where wish.id = $1 and ",
        owed!(),
        " and (tried_seq < wanted_seq or not_before <= now())",
    ))
    .bind(id)
    .fetch_optional(tx)
    .await
}

/// Records that GitHub accepted the wish in its version `wanted_seq`.
pub async fn sent(db: &PgPool, wish: &Wish) -> sqlx::Result<()> {
    sqlx::query(
        "update wish set sent_seq = $2, tries = 0, failing_since = null, not_before = now(), last_error = null
         where id = $1 and sent_seq < $2",
    )
    .bind(wish.id)
    .bind(wish.wanted_seq)
    .execute(db)
    .await?;
    Ok(())
}

/// Records what GitHub shows: the number of a check run or comment, and the hash of a comment's text. A check run of which
/// another build has taken over the wish is not recorded.
pub async fn set_shown(db: &PgPool, wish: &Wish, shown: i64, hash: Option<&[u8]>) -> sqlx::Result<()> {
    sqlx::query("update wish set shown_id = $3, shown_hash = $4 where id = $1 and (build_id = $2 or kind = 'comment')")
        .bind(wish.id)
        .bind(wish.build_id)
        .bind(shown)
        .bind(hash)
        .execute(db)
        .await?;
    Ok(())
}

/// Returns true if a wish still has to be sent.
pub async fn any_owed(db: &PgPool) -> sqlx::Result<bool> {
    // In the order of the index of owed wishes: Postgres would otherwise expect to find one soon in the whole table.
    sqlx::query_scalar(concat!(
        "select coalesce((select true from wish where ",
        owed!(),
        " order by repo_id limit 1), false)"
    ))
    .fetch_one(db)
    .await
}

/// Returns true if a wish of the repository still has to be sent.
pub async fn owes(db: &PgPool, repo: RepoId) -> sqlx::Result<bool> {
    sqlx::query_scalar(concat!("select exists (select from wish where repo_id = $1 and ", owed!(), ")"))
        .bind(repo)
        .fetch_one(db)
        .await
}

/// Makes every wish of a repository due, since GitHub accepts its statuses again.
pub async fn due_again(db: &PgPool, repo: RepoId) -> sqlx::Result<()> {
    sqlx::query(concat!("update wish set not_before = now() where repo_id = $1 and not_before > now() and ", owed!()))
        .bind(repo)
        .execute(db)
        .await?;
    Ok(())
}

/// Makes every wish due, since the reason for a refusal may no longer exist when the service starts: a person has set
/// another token, for instance.
pub async fn all_due(db: &PgPool) -> sqlx::Result<()> {
    sqlx::query(concat!("update wish set not_before = now() where not_before > now() and ", owed!()))
        .execute(db)
        .await?;
    Ok(())
}
