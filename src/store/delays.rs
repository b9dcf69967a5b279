//! Waits that a wrong clock has stretched. While a clock is ahead, it writes times that are far away once it is right
//! again.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgPool;

/// Longest waits that the service itself asks for.
#[derive(Debug, Clone, Copy)]
pub struct LongestWaits {
    pub wish: Duration,
    pub delivery: Duration,
    pub job: Duration,
    pub notification: Duration,
}

/// Returns the time by the clock of Postgres.
pub async fn clock(db: &PgPool) -> sqlx::Result<DateTime<Utc>> {
    sqlx::query_scalar("select now()").fetch_one(db).await
}

/// Shortens every wait to the longest one that the service asks for, and sets times of the future to now. Returns the
/// number of rows that it changed.
pub async fn shorten(db: &PgPool, longest: &LongestWaits) -> sqlx::Result<u64> {
    // A first failure in the future would put off the end of the tries.
    let wishes = sqlx::query(
        "update wish set not_before = least(not_before, now() + $1),
             failing_since = case when failing_since > now() then now() else failing_since end
         where sent_seq < wanted_seq and given_up_seq < wanted_seq and (not_before > now() + $1 or failing_since > now())",
    );
    let deliveries =
        sqlx::query("update delivery set not_before = now() + $1 where done_at is null and not_before > now() + $1");
    // Two statements, since each has the condition of one of the queue's indexes.
    let jobs = sqlx::query(
        "update job set not_before = now() + $1
         where state = 'queued' and not has_requirements and not_before > now() + $1",
    );
    let jobs_with_requirements = sqlx::query(
        "update job set not_before = now() + $1 where state = 'queued' and has_requirements and not_before > now() + $1",
    );
    let notifications = sqlx::query(
        "update notification set not_before = least(not_before, now() + $1), held_until = least(held_until, now() + $1)
         where done_at is null and (not_before > now() + $1 or held_until > now() + $1)",
    );
    let waits = [
        (wishes, longest.wish),
        (deliveries, longest.delivery),
        (jobs, longest.job),
        (jobs_with_requirements, longest.job),
        (notifications, longest.notification),
    ];
    let mut shortened = 0;
    for (statement, wait) in waits {
        shortened += statement.bind(wait).execute(db).await?.rows_affected();
    }
    let gpus = sqlx::query("update gpu set since = now() where since > now()");
    let turns = sqlx::query("update repo set served_at = now() where served_at > now()");
    for statement in [gpus, turns] {
        shortened += statement.execute(db).await?.rows_affected();
    }
    Ok(shortened)
}
