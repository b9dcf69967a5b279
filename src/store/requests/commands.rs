//! Commands of people in comments, labels and buttons: each is carried out once.

use std::time::Duration;

use sqlx::{PgConnection, PgPool};

use crate::domain::{DeliveryId, RepoId};

/// Time for which a command is kept. Commands that are older at GitHub are not carried out.
const KEPT: Duration = Duration::from_secs(2 * 24 * 3600);
/// Time over which the commands of a repository and of a person are counted.
const COUNTED: Duration = Duration::from_secs(3600);

/// A command of a person.
#[derive(Debug, Clone, Copy)]
pub struct Command<'a> {
    pub delivery: &'a DeliveryId,
    pub repo: RepoId,
    /// GitHub's number of the comment.
    pub comment: Option<i64>,
    pub pull_request: Option<i64>,
    /// GitHub's number of the person.
    pub person: i64,
}

/// Earlier commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub struct Earlier {
    /// Number of those of the repository in the last hour.
    pub of_repo: i64,
    /// Number of those of the person in the repository in the last hour.
    pub of_person: i64,
    /// True when the same comment was dealt with.
    pub is_known: bool,
    /// True when the person was refused on this pull request.
    pub was_refused: bool,
    /// True when the person had the right to another one lately.
    pub was_allowed: bool,
}

/// Looks for commands before this one.
pub async fn earlier(db: &PgPool, command: &Command<'_>) -> sqlx::Result<Earlier> {
    sqlx::query_as(
        "select count(*) filter (where at > now() - $5) as of_repo,
             count(*) filter (where at > now() - $5 and person_id = $2) as of_person,
             coalesce(bool_or(comment_id = $3), false) as is_known,
             coalesce(bool_or(is_refused and person_id = $2 and pull_request = $4), false) as was_refused,
             coalesce(bool_or(not is_refused and person_id = $2), false) as was_allowed
         from command where repo_id = $1",
    )
    .bind(command.repo)
    .bind(command.person)
    .bind(command.comment)
    .bind(command.pull_request)
    .bind(COUNTED)
    .fetch_one(db)
    .await
}

/// Records a command, and forgets old ones. Returns false if the same comment was dealt with before.
pub async fn record(tx: &mut PgConnection, command: &Command<'_>, is_refused: bool) -> sqlx::Result<bool> {
    let recorded = sqlx::query(
        "with old as (delete from command where repo_id = $2 and at < now() - $7)
         insert into command (delivery_id, repo_id, comment_id, pull_request, person_id, is_refused)
         values ($1, $2, $3, $4, $5, $6)
         on conflict do nothing",
    )
    .bind(command.delivery)
    .bind(command.repo)
    .bind(command.comment)
    .bind(command.pull_request)
    .bind(command.person)
    .bind(is_refused)
    .bind(KEPT)
    .execute(tx)
    .await?;
    Ok(recorded.rows_affected() == 1)
}
