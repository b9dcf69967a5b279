//! Approvals of builds that wait for one: all of their jobs wait, also those of the first stage.

use std::time::Duration;

use sqlx::{PgConnection, PgPool};

use super::rollup::unapproved;
use super::{cancel_build, rollup};
use crate::domain::BuildId;

/// Number of builds that one call of [`cancel_unapproved`] cancels.
const BATCH: i64 = 100;

/// Approves a build, and queues its first stage. Returns false if it waits for no approval: it needs none, has one, or
/// has ended.
pub async fn approve(tx: &mut PgConnection, build: BuildId, who: &str) -> sqlx::Result<bool> {
    // Waiting jobs are locked after their build, as at the start of a stage.
    let approved = sqlx::query(concat!(
        "update build set approved_by = $2, approved_at = now() where id = $1 and ",
        unapproved!(),
    ))
    .bind(build)
    .bind(who)
    .execute(&mut *tx)
    .await?;
    if approved.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query(
        "update job set state = 'queued', not_before = now()
         where build_id = $1 and state = 'waiting'
           and stage_order = (select min(stage_order) from job where build_id = $1 and state = 'waiting')",
    )
    .bind(build)
    .execute(&mut *tx)
    .await?;
    rollup::refresh(tx, build).await?;
    Ok(true)
}

/// Cancels builds that have waited longer than `age` for an approval, the oldest first. Returns their number.
pub async fn cancel_unapproved(db: &PgPool, age: Duration) -> sqlx::Result<usize> {
    let old: Vec<BuildId> = sqlx::query_scalar(concat!(
        "select id from build where ",
        unapproved!(),
        " and created_at < now() - $1 order by created_at limit $2"
    ))
    .bind(age)
    .bind(BATCH)
    .fetch_all(db)
    .await?;
    for build in &old {
        let mut tx = db.begin().await?;
        cancel_build(&mut tx, *build, &format!("nobody approved it within {} days", age.as_secs() / 86_400)).await?;
        tx.commit().await?;
    }
    Ok(old.len())
}
