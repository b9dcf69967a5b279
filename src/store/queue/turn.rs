//! Turns: the order in which the queue goes round the repositories, and the limits on their slots.
//!
//! The next job is that of the repository with the smallest share, which is its number of running jobs. If shares are
//! equal, pull requests from forks come last, and then the longer time since an attempt of the repository ended decides.
//! The rest of the [`Priority`] comes after that: a repository with many pushes would otherwise keep a single slot.
//! Within a repository, the higher priority comes first, then the older job. So 200 jobs of one repository delay the job
//! of another one by the end of one job, not of 200.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use sqlx::{PgConnection, PgPool, Postgres, Transaction};

use crate::domain::{JobId, Priority, RepoId};

/// Common table of the claims: the repositories of `lane` with their shares and limits. The limit of everyone is `$1`.
/// Shares count to 32, or to the limit, so that a claim costs no more on a large installation.
macro_rules! shares {
    () => {
        "share as (
             select lane.*, served_at, running, most
             from lane join repo on repo.id = lane.repo_id, lateral (
                 select case when slots = 0 then null else coalesce(slots::bigint, $1::bigint) end as most
             ) bound, lateral (
                 select count(*) as running from (
                     select from job where state = 'running' and job.repo_id = lane.repo_id
                     limit greatest(32, most)
                 ) counted
             ) counted
         )"
    };
}
pub(super) use shares;

/// Order of repositories with equal shares.
macro_rules! turn {
    () => {
        "priority < 0, served_at nulls first, priority desc"
    };
}
pub(super) use turn;

/// `[queue]` of the configuration: limits on the slots of all runners together. 0 stands for no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueueConfig {
    /// Number of jobs of one repository that run at once.
    pub slots_per_repository: u32,
    /// Number of jobs of pull requests from forks that run at once, in all repositories together.
    pub slots_for_forks: u32,
    /// True if single repositories have limits of their own, which their rows have.
    #[serde(skip)]
    pub has_own_limits: bool,
}

/// Bounds on the jobs that a claim may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Share at which a repository without a limit of its own gets no further slot.
    pub(super) most: Option<i64>,
    /// Lowest priority that may begin.
    pub(super) floor: i16,
}

impl Bounds {
    pub(super) const NONE: Self = Self { most: None, floor: i16::MIN };
}

impl QueueConfig {
    /// Returns true if neither repositories nor forks have any limit.
    pub fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }

    /// Begins a claim under these limits, and returns its bounds. Such claims run one after the other: two at once would
    /// count the same running jobs, and together exceed a limit.
    ///
    /// A claim that waits for long fails. Postgres ends one that has gone silent: the lock of a machine without power
    /// would otherwise stop the claims of all others.
    pub(super) async fn begin(&self, db: &PgPool) -> sqlx::Result<(Transaction<'static, Postgres>, Bounds)> {
        let mut tx = db.begin().await?;
        if self.is_unlimited() {
            return Ok((tx, Bounds::NONE));
        }
        sqlx::query(
            "select set_config('idle_in_transaction_session_timeout', '5s', true), set_config('lock_timeout', '8s', true)",
        )
        .execute(&mut *tx)
        .await?;
        sqlx::query("select pg_advisory_xact_lock(hashtextextended('trainyard.claim', 0))").execute(&mut *tx).await?;
        let bounds = self.bounds(&mut tx).await?;
        Ok((tx, bounds))
    }

    pub(super) async fn bounds(&self, db: &mut PgConnection) -> sqlx::Result<Bounds> {
        let most = Some(i64::from(self.slots_per_repository)).filter(|most| *most > 0);
        let forks = i64::from(self.slots_for_forks);
        let are_full = forks > 0
            && sqlx::query_scalar(
                "select count(*) >= $2 from (select from job where state = 'running' and priority <= $1 limit $2) forks",
            )
            .bind(Priority::Fork)
            .bind(forks)
            .fetch_one(db)
            .await?;
        let floor = if are_full { Priority::Fork as i16 + 1 } else { i16::MIN };
        Ok(Bounds { most, floor })
    }
}

/// A queued job without requirements, in the order of the claims.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct QueuedJob {
    pub id: JobId,
    pub repo_id: RepoId,
    pub priority: Priority,
    /// Number of running jobs of its repository, counted to 32.
    pub running: i64,
    /// Number of jobs of its repository that may run at once; `None` for any.
    pub most: Option<i64>,
    /// True when a limit of [`QueueConfig`] keeps it from its slot until another job ends.
    pub is_held: bool,
    pub created_at: DateTime<Utc>,
}

/// Lists the first `most` queued jobs without requirements, in the order in which they would be claimed if no job ended
/// and none came meanwhile. Jobs that a limit holds back come last.
pub async fn order(db: &PgPool, limits: &QueueConfig, most: i64) -> sqlx::Result<Vec<QueuedJob>> {
    let mut connection = db.acquire().await?;
    let bounds = limits.bounds(&mut connection).await?;
    sqlx::query_as(concat!(
        "with recursive lane as (
             (select repo_id from job where state = 'queued' and not has_requirements order by repo_id limit 1)
             union all
             select next.repo_id from lane, lateral (
                 select job.repo_id from job
                 where state = 'queued' and not has_requirements and job.repo_id > lane.repo_id
                 order by job.repo_id limit 1
             ) next
         ), ",
        shares!(),
        ", listed as (
             select job.*, running, most, served_at, priority < $2 or coalesce(running + place > most, false) as is_held
             from share, lateral (
                 select id, repo_id, priority, created_at, row_number() over (order by priority desc, id) as place
                 from job
                 where state = 'queued' and not has_requirements and not_before <= now() and job.repo_id = share.repo_id
                 order by priority desc, id limit $3
             ) job
         )
         select id, repo_id, priority, running, most, is_held, created_at from listed
         order by is_held, running + place, ",
        turn!(),
        ", repo_id limit $3",
    ))
    .bind(bounds.most)
    .bind(bounds.floor)
    .bind(most)
    .fetch_all(&mut *connection)
    .await
}

/// Records that an attempt of a repository has ended. Ends of attempts do not wait for each other: if another transaction
/// is doing so right now, nothing is left to record. Intake locks the row too, while it inserts a build. Then this end is
/// not recorded, and the repository may get one turn more.
pub(super) async fn record_end(tx: &mut PgConnection, repo: RepoId) -> sqlx::Result<()> {
    sqlx::query(
        "update repo set served_at = now()
         where id = (select id from repo where id = $1 for no key update skip locked)",
    )
    .bind(repo)
    .execute(tx)
    .await?;
    Ok(())
}
