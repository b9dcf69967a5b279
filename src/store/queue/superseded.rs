//! Builds that a newer one of the same branch or pull request makes obsolete.

use sqlx::PgConnection;

use super::cancel::cancel_build;
use crate::domain::{BuildId, RepoId, Trigger, TriggerKind};

/// Set of the older builds that a new build cancels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancels {
    /// Builds of which no job has begun, as on Travis.
    Queued,
    /// Running builds too.
    Running,
}

/// Cancels the older builds that the build of this number supersedes. Returns their number.
pub async fn cancel(
    tx: &mut PgConnection,
    repo: RepoId,
    number: i32,
    trigger: &Trigger,
    cancels: Cancels,
) -> sqlx::Result<usize> {
    let of = match (trigger.kind, &trigger.pull_request, &trigger.branch) {
        (TriggerKind::PullRequest, Some(pull), _) => format!("pull request #{}", pull.number),
        (TriggerKind::Push, None, Some(branch)) => format!("branch {branch}"),
        // A tag, cron or API build was requested for its own sake.
        _ => return Ok(0),
    };
    let older: Vec<BuildId> = sqlx::query_scalar(
        "select id from build
         where repo_id = $1 and number < $2 and kind = $3
           and branch is not distinct from $4 and pull_request is not distinct from $5
           and (state = 'queued' or $6 and state = 'running')
         order by id",
    )
    .bind(repo)
    .bind(number)
    .bind(trigger.kind)
    .bind(&trigger.branch)
    .bind(trigger.pull_request.as_ref().map(|pull| i32::try_from(pull.number).unwrap_or(i32::MAX)))
    .bind(cancels == Cancels::Running)
    .fetch_all(&mut *tx)
    .await?;
    for build in &older {
        cancel_build(tx, *build, &format!("build #{number} of {of} is newer")).await?;
    }
    Ok(older.len())
}
