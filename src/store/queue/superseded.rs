//! Builds that a newer one of the same branch or pull request makes obsolete.

use sqlx::PgConnection;

use super::cancel::cancel_build;
use super::insert::Origin;
use crate::domain::{BuildId, Trigger, TriggerKind};

/// Set of the older builds that a new build cancels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancels {
    /// Builds of which no job has begun, as on Travis.
    Queued,
    /// Running builds too.
    Running,
}

/// Cancels the older builds that a new build of this number supersedes.
///
/// A delivery that was tried again may come after a newer one, and then its build has the higher number. So of two
/// builds with deliveries, the one whose delivery arrived first is older.
pub(in crate::store) async fn cancel(
    tx: &mut PgConnection,
    new: Origin,
    number: i32,
    trigger: &Trigger,
    cancels: Cancels,
) -> sqlx::Result<()> {
    let of = match (trigger.kind, &trigger.pull_request, &trigger.branch) {
        (TriggerKind::PullRequest, Some(pull), _) => format!("pull request #{}", pull.number),
        (TriggerKind::Push, None, Some(branch)) => format!("branch {branch}"),
        // A tag, cron or API build was requested for its own sake.
        _ => return Ok(()),
    };
    let older: Vec<BuildId> = sqlx::query_scalar(
        "select id from build
         where repo_id = $1 and number < $2 and kind = $3
           and branch is not distinct from $4 and pull_request is not distinct from $5
           and (state = 'queued' or $6 and state = 'running')
           and not exists (
               select from build new
                   join delivery of_new on of_new.id = new.delivery_id
                   join delivery of_old on of_old.id = build.delivery_id
               where new.id = $7 and (of_old.received_at, of_old.id) > (of_new.received_at, of_new.id))
         order by id",
    )
    .bind(new.repo)
    .bind(number)
    .bind(trigger.kind)
    .bind(&trigger.branch)
    .bind(trigger.pull_request.as_ref().map(|pull| i32::try_from(pull.number).unwrap_or(i32::MAX)))
    .bind(cancels == Cancels::Running)
    .bind(new.build)
    .fetch_all(&mut *tx)
    .await?;
    // All of them at once, since a wish may belong to two builds of one commit, and wishes are locked last. Waiting jobs
    // are locked after their build.
    let ids: Vec<i64> = older.iter().map(|build| build.0).collect();
    sqlx::query(
        "select from job where build_id = any($1) and state not in ('finished', 'waiting') order by id for update",
    )
    .bind(&ids)
    .execute(&mut *tx)
    .await?;
    sqlx::query("select from build where id = any($1) order by id for update").bind(&ids).execute(&mut *tx).await?;
    for build in &older {
        cancel_build(tx, *build, &format!("build #{number} of {of} is newer")).await?;
    }
    Ok(())
}
