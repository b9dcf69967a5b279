//! Crons: branches that are built daily, weekly or monthly, by the clock of the database.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{PgConnection, PgPool};
use utoipa::ToSchema;

use super::requests;
use crate::domain::{BuildRequest, CronInterval, RepoId, TriggerKind};

/// Number of crons of a repository.
pub const MAX_CRONS: i64 = 20;
/// Number of crons that are run in one transaction.
const BATCH: i64 = 20;

/// A branch that is built by schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema, sqlx::FromRow)]
pub struct Cron {
    pub branch: String,
    #[serde(rename = "interval")]
    pub every: CronInterval,
    /// True when nothing is built if the branch had another build within the last 24 hours.
    #[serde(rename = "dont_run_if_recent_build_exists")]
    pub skip_if_recent: bool,
    #[serde(rename = "next_run")]
    pub next_at: DateTime<Utc>,
    #[serde(rename = "last_run")]
    pub last_at: Option<DateTime<Utc>>,
    /// Outcome of the last run, in words; `None` while it waits, and once its delivery is forgotten.
    pub last_outcome: Option<String>,
}

/// Lists the crons of a repository.
pub async fn of(db: &PgPool, repo: RepoId) -> sqlx::Result<Vec<Cron>> {
    sqlx::query_as(
        "select branch, every, skip_if_recent, next_at, last_at, case
             when last_at is not null and last_request is null then 'no build: there was one within 24 hours'
             else (select outcome from delivery where id = last_request) end as last_outcome
         from cron where repo_id = $1 order by branch",
    )
    .bind(repo)
    .fetch_all(db)
    .await
}

/// Sets the cron of a branch. It is due at once, and then after each interval. Returns false when the repository has
/// [`MAX_CRONS`] others.
pub async fn set(
    tx: &mut PgConnection,
    repo: RepoId,
    branch: &str,
    every: CronInterval,
    skip_if_recent: bool,
) -> sqlx::Result<bool> {
    // Of two at once, each counts the other.
    sqlx::query("select 1 from repo where id = $1 for update").bind(repo).execute(&mut *tx).await?;
    let set = sqlx::query(
        "insert into cron (repo_id, branch, every, skip_if_recent)
         select $1, $2, $3, $4 where (select count(*) from cron where repo_id = $1 and branch <> $2) < $5
         on conflict (repo_id, branch) do update set every = $3, skip_if_recent = $4, created_at = now(), next_at = now()",
    )
    .bind(repo)
    .bind(branch)
    .bind(every)
    .bind(skip_if_recent)
    .bind(MAX_CRONS)
    .execute(tx)
    .await?;
    Ok(set.rows_affected() == 1)
}

/// Removes the cron of a branch. Returns false if there was none.
pub async fn remove(db: &PgPool, repo: RepoId, branch: &str) -> sqlx::Result<bool> {
    let removed =
        sqlx::query("delete from cron where repo_id = $1 and branch = $2").bind(repo).bind(branch).execute(db).await?;
    Ok(removed.rows_affected() == 1)
}

#[derive(sqlx::FromRow)]
struct Due {
    repo_id: RepoId,
    branch: String,
    has_recent_build: bool,
}

/// Requests the builds of the crons that are due. Runs that were missed, as while the service was away, are one run.
/// Returns the number of requests.
pub async fn run_due(db: &PgPool) -> sqlx::Result<usize> {
    let mut tx = db.begin().await?;
    // No cron waits for longer than a month: one that does was set by a clock that was ahead. The factor is for months,
    // which count 30 days where an interval is divided.
    let due: Vec<Due> = sqlx::query_as(
        "with due as (
             select repo_id, branch,
                 case every when 'daily' then interval '1 day' when 'weekly' then interval '7 days'
                     else interval '1 month' end as step
             from cron where next_at <= now() or next_at > now() + interval '32 days'
             order by next_at limit $1 for update skip locked
         )
         update cron set last_at = now(), last_request = null, next_at = coalesce((
             select min(at) from (
                 select (created_at at time zone 'UTC' + n * step) at time zone 'UTC' as at
                 from (select greatest(extract(epoch from now() - created_at) / extract(epoch from step), 0) as passed) age,
                     lateral generate_series(floor(passed * 0.98)::int, ceil(passed)::int + 1) n
             ) run where at > now()
         ), now() + step)
         from due where cron.repo_id = due.repo_id and cron.branch = due.branch
         returning cron.repo_id, cron.branch, skip_if_recent and exists (
             select from build
             where build.repo_id = cron.repo_id and build.branch = cron.branch and kind not in ('cron', 'pull_request')
                 and build.created_at > now() - interval '24 hours') as has_recent_build",
    )
    .bind(BATCH)
    .fetch_all(&mut *tx)
    .await?;
    let mut requested = 0;
    for due in due.into_iter().filter(|due| !due.has_recent_build) {
        let request = BuildRequest {
            repo: due.repo_id,
            kind: TriggerKind::Cron,
            branch: due.branch.clone(),
            sha: None,
            before: None,
            message: None,
            requested_by: "cron".to_owned(),
            configs: Vec::new(),
            pull_request: None,
            smoke: None,
        };
        let Some(id) = requests::insert(&mut tx, &request).await? else { continue };
        sqlx::query("update cron set last_request = $3 where repo_id = $1 and branch = $2")
            .bind(due.repo_id)
            .bind(&due.branch)
            .bind(&id)
            .execute(&mut *tx)
            .await?;
        requested += 1;
    }
    tx.commit().await?;
    Ok(requested)
}
