//! Tries of a wish that did not succeed, and wishes that are given up.

use std::time::Duration;

use sqlx::PgPool;

use super::{Wish, owed};
use crate::domain::RepoId;

/// A try that did not succeed.
#[derive(Debug, Clone, Copy)]
pub struct Failure<'a> {
    /// Error in words.
    pub error: &'a str,
    pub how: Retry,
}

/// The conditions of further tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Time until the next try.
    pub pause: Duration,
    /// True when the failure is one of all wishes of the repository.
    pub of_repository: bool,
    /// Limit after which a wish is given up; `None` for a failure that says nothing about the wish. After such a failure
    /// the time of the limit begins again.
    pub limit: Option<Patience>,
}

/// The limit after which a wish is given up. Both parts have to be reached: a clock that jumped ahead makes failures
/// look old, but not many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    pub time: Duration,
    pub tries: i32,
}

/// Records a failure, unless the wish has changed since: a newer version is due at once. Returns the number of wishes
/// that are given up.
pub async fn failed(db: &PgPool, wish: &Wish, failure: &Failure<'_>) -> sqlx::Result<usize> {
    let given_up: Vec<bool> = sqlx::query_scalar(concat!(
        "with before as (
             select id, case when tried_seq = wanted_seq then tries else 0 end + 1 as tries,
                 case when tried_seq = wanted_seq and $7::interval is not null then failing_since else now() end as since
             from wish where (id = $1 and wanted_seq = $2 or repo_id = $3) and ",
        owed!(),
        " for update
         )
         update wish set
             tried_seq = wanted_seq, tries = before.tries, failing_since = since, last_error = $4,
             not_before = case when wish.id = $1 then now() + $5 else greatest(not_before, now() + $5) end,
             given_up_seq = case when before.tries >= $6 and since <= now() - $7 then wanted_seq else given_up_seq end
         from before where wish.id = before.id
         returning given_up_seq = wanted_seq",
    ))
    .bind(wish.id)
    .bind(wish.wanted_seq)
    .bind(failure.how.of_repository.then_some(wish.repo_id))
    .bind(failure.error)
    .bind(failure.how.pause)
    .bind(failure.how.limit.map(|limit| limit.tries))
    .bind(failure.how.limit.map(|limit| limit.time))
    .fetch_all(db)
    .await?;
    Ok(given_up.into_iter().filter(|given_up| *given_up).count())
}

/// Wishes of a repository that were given up.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct GivenUp {
    pub count: i64,
    /// Last error of the latest one.
    pub error: String,
}

/// Returns the wishes of a repository that were given up within a week, if there are any. For this long an alert shows
/// them, also in [`crate::store::alerts::forget_repositories`].
pub async fn given_up(db: &PgPool, repo: RepoId) -> sqlx::Result<Option<GivenUp>> {
    sqlx::query_as(
        "select count(*) over () as count, coalesce(last_error, '') as error from wish
         where repo_id = $1 and sent_seq < wanted_seq and given_up_seq = wanted_seq
             and not_before > now() - interval '7 days'
         order by not_before desc limit 1",
    )
    .bind(repo)
    .fetch_optional(db)
    .await
}
