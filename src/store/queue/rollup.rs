//! The state of a build, rolled up from its jobs; the start of its next stage; and the wish for its status.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};

use super::progress::progress_of;
use crate::domain::{
    BuildId, BuildState, JobId, JobOutcome, JobSummary, RepoId, Scope, Sha, Status, TriggerKind, Verdict, roll_up,
};
use crate::store::problems;
use crate::store::wishes::{self, NewWish};

/// Condition of a build that waits for its approval. A person may have canceled some of its jobs meanwhile.
macro_rules! unapproved {
    () => {
        "needs_approval and approved_at is null and finished_at is null"
    };
}
pub(super) use unapproved;

#[derive(sqlx::FromRow)]
struct BuildRow {
    repo_id: RepoId,
    number: i32,
    kind: TriggerKind,
    sha: Sha,
    state: BuildState,
    started_at: Option<DateTime<Utc>>,
    finished_at: Option<DateTime<Utc>>,
    is_unapproved: bool,
    repo: String,
    has_check_run: bool,
    has_comment: bool,
    scope: Scope,
    pull_request: Option<i32>,
}

#[derive(sqlx::FromRow)]
struct OutcomeRow {
    id: JobId,
    number: i32,
    verdict: Option<Verdict>,
    allow_failure: bool,
    reason: Option<String>,
    wait_reason: Option<String>,
    /// True for a smoke or train job that runs.
    trains: bool,
}

/// Locks a build's row until the transaction ends.
pub(super) async fn lock(tx: &mut PgConnection, build: BuildId) -> sqlx::Result<()> {
    sqlx::query("select 1 from build where id = $1 for update").bind(build).execute(tx).await?;
    Ok(())
}

/// Returns the name of the check run of a build of this kind.
fn check_name(kind: TriggerKind, scope: Scope) -> &'static str {
    match (scope, kind) {
        (Scope::Smoke, _) => "Trainyard smoke",
        (Scope::Train, _) => "Trainyard train",
        (Scope::Commit, TriggerKind::PullRequest) => "Trainyard pr",
        (Scope::Commit, _) => "Trainyard push",
    }
}

/// Starts the build's next stage if it is due, rolls the build up from its jobs, and wishes its status. Every
/// transaction that changes a job's state must call this. It locks the build's row: otherwise, of two jobs that end at
/// once, each could miss the end of the other.
pub async fn refresh(tx: &mut PgConnection, build: BuildId) -> sqlx::Result<BuildState> {
    lock(tx, build).await?;
    start_next_stage(tx, build).await?;
    let jobs: Vec<JobSummary> = sqlx::query_as(
        "select stage_order, state, verdict, allow_failure from job where build_id = $1 order by stage_order, number",
    )
    .bind(build)
    .fetch_all(&mut *tx)
    .await?;
    let (fast_finish, has_begun): (bool, bool) =
        sqlx::query_as("select fast_finish, started_at is not null from build where id = $1")
            .bind(build)
            .fetch_one(&mut *tx)
            .await?;
    // A claim that is not committed yet may have begun a job, which is not visible here; and a claim does not update a
    // build that is running already.
    let state = match roll_up(&jobs, fast_finish) {
        BuildState::Queued if has_begun => BuildState::Running,
        state => state,
    };
    sqlx::query(
        "update build set state = $2,
             started_at = coalesce(started_at, case when $2::build_state <> 'queued' then now() end),
             finished_at = case when $2::build_state in ('queued', 'running') then null else coalesce(finished_at, now()) end
         where id = $1",
    )
    .bind(build)
    .bind(state)
    .execute(&mut *tx)
    .await?;
    wish_status(tx, build).await?;
    Ok(state)
}

/// Lets the status of a job's build tell of the progress, unless it did within the last minute, or within the last part
/// in thirty of the time that the build has been running. So a training of a day has some 150 statuses: GitHub takes 1,000
/// of a commit. Returns false if nothing was told.
pub async fn tell_progress(db: &PgPool, job: JobId) -> sqlx::Result<bool> {
    let mut tx = db.begin().await?;
    let due: Option<BuildId> = sqlx::query_scalar(
        "update build set progress_told_at = now()
         where id = (select build_id from job where id = $1) and state = 'running'
             and (progress_told_at is null
                 or progress_told_at < now() - greatest(interval '1 min', (now() - started_at) / 30))
         returning id",
    )
    .bind(job)
    .fetch_optional(&mut *tx)
    .await?;
    let Some(build) = due else { return Ok(false) };
    wish_status(&mut tx, build).await?;
    tx.commit().await?;
    Ok(true)
}

pub(in crate::store) async fn wish_status(tx: &mut PgConnection, build: BuildId) -> sqlx::Result<()> {
    let row: BuildRow = sqlx::query_as(concat!(
        "select repo_id, number, kind, sha, state, started_at, finished_at, ",
        unapproved!(),
        " as is_unapproved, owner || '/' || name as repo, has_check_run, has_comment, scope, pull_request
         from build join repo on repo.id = repo_id where build.id = $1",
    ))
    .bind(build)
    .fetch_one(&mut *tx)
    .await?;
    let jobs: Vec<OutcomeRow> = sqlx::query_as(
        "select id, number, verdict, allow_failure, reason, wait_reason, state = 'running' and kind <> 'script' as trains
         from job where build_id = $1 order by number",
    )
    .bind(build)
    .fetch_all(&mut *tx)
    .await?;
    let mut progress = if jobs.iter().any(|job| job.trains) { progress_of(tx, build).await? } else { HashMap::new() };
    let outcomes: Vec<JobOutcome> = jobs
        .into_iter()
        .map(|OutcomeRow { id, number, verdict, allow_failure, reason, wait_reason, .. }| JobOutcome {
            number: format!("{}.{number}", row.number),
            verdict,
            allow_failure,
            reason,
            wait_reason,
            progress: progress.remove(&id).map(|progress| progress.in_words()),
        })
        .collect();
    // Problems explain only builds that have ended.
    let problems = if row.state.is_finished() { problems::of(tx, build).await? } else { Vec::new() };
    let duration = row.started_at.zip(row.finished_at).and_then(|(from, to)| (to - from).to_std().ok());
    let duration = duration.map(|d| Duration::from_secs(d.as_secs()).max(Duration::from_secs(1)));
    let status = match row.is_unapproved {
        true => Status::of_unapproved(outcomes.iter().filter(|job| job.verdict.is_none()).count()),
        false => Status::of_build(row.state, &outcomes, &problems, duration),
    };
    let path = format!("/{}/builds/{}", row.repo, row.number);
    let wish = NewWish {
        repo: row.repo_id,
        sha: &row.sha,
        build,
        context: Status::context(row.kind, row.scope),
        status: &status,
        target_path: &path,
    };
    wishes::want(tx, &wish).await?;
    if row.has_check_run {
        wishes::want_check(tx, &NewWish { context: check_name(row.kind, row.scope), ..wish }).await?;
    }
    if let Some(number) = row.pull_request.filter(|_| row.has_comment) {
        wishes::want_comment(tx, &wish, number).await?;
    }
    Ok(())
}

/// Queues the jobs of the next stage once every earlier job has passed, or cancels all waiting jobs once one has not.
/// The caller, [`refresh`], has locked the build.
async fn start_next_stage(tx: &mut PgConnection, build: BuildId) -> sqlx::Result<()> {
    // A job that is allowed to fail does not stop a stage, but the stage waits for its end.
    let next: Option<(i32, bool)> = sqlx::query_as(
        "with next as (select min(stage_order) as place from job where build_id = $1 and state = 'waiting')
         select place, bool_and(verdict = 'passed' or allow_failure)
         from job, next where build_id = $1 and stage_order < place
         group by place having bool_and(state = 'finished')",
    )
    .bind(build)
    .fetch_optional(&mut *tx)
    .await?;
    match next {
        None => {}
        Some((stage, true)) => {
            // Also an earlier stage whose jobs may fail, and were canceled, does not stand for an approval.
            sqlx::query(concat!(
                "update job set state = 'queued', not_before = now()
                 where build_id = $1 and stage_order = $2 and state = 'waiting'
                     and not exists (select from build where id = $1 and ",
                unapproved!(),
                ")",
            ))
            .bind(build)
            .bind(stage)
            .execute(tx)
            .await?;
        }
        Some((_, false)) => {
            sqlx::query(
                "update job set state = 'finished', verdict = 'canceled', finished_at = now(),
                     reason = 'an earlier stage did not pass'
                 where build_id = $1 and state = 'waiting'",
            )
            .bind(build)
            .execute(tx)
            .await?;
        }
    }
    Ok(())
}
