//! Retention: how long logs and artifacts are kept, and the rows of builds, deliveries and statuses.
//!
//! Each function does a bounded part of the work and looks only at rows that may be due, by an index: nothing here
//! costs more because there is more history. `tests/it/pipeline/indexes.rs` shows that. The exception is the sum of the
//! sizes in [`make_room`]: it reads an index of all kept objects.

use std::time::Duration;

use bytesize::ByteSize;
use serde::Deserialize;
use sqlx::{PgConnection, PgPool, Postgres, Transaction};

use crate::domain::BuildId;

/// `[retention]` of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionConfig {
    /// Time for which logs are kept after the end of their jobs.
    #[serde(with = "humantime_serde")]
    pub logs: Duration,
    /// Time for which artifacts are kept after the end of their jobs.
    #[serde(with = "humantime_serde")]
    pub artifacts: Duration,
    /// Number of newest builds of a repository whose logs and artifacts are kept.
    pub builds: u32,
    /// Maximum size of all logs and artifacts. Artifacts of jobs from forks are removed first, so that strangers cannot
    /// make room for theirs with many builds; then the oldest logs and artifacts.
    pub total_size: ByteSize,
    /// Time for which builds are kept after their end, with their jobs and everything else that belongs to them.
    #[serde(with = "humantime_serde")]
    pub history: Duration,
    /// Number of newest builds of a repository that are kept.
    pub history_builds: u32,
    /// Time for which deliveries are kept after they were processed. For that time, a redelivery makes no second build.
    #[serde(with = "humantime_serde")]
    pub deliveries: Duration,
    /// Time for which the statuses of finished builds are kept after GitHub has accepted them.
    #[serde(with = "humantime_serde")]
    pub statuses: Duration,
    /// Time for which the record of changes and logins is kept.
    #[serde(with = "humantime_serde")]
    pub audit: Duration,
}

const DAY: u64 = 24 * 3600;

impl Default for RetentionConfig {
    fn default() -> Self {
        Self {
            logs: Duration::from_secs(90 * DAY),
            artifacts: Duration::from_secs(30 * DAY),
            builds: 1000,
            total_size: ByteSize::gib(100),
            history: Duration::from_secs(1095 * DAY),
            history_builds: 10_000,
            deliveries: Duration::from_secs(30 * DAY),
            statuses: Duration::from_secs(90 * DAY),
            audit: Duration::from_secs(365 * DAY),
        }
    }
}

impl RetentionConfig {
    /// Rejects values that make no sense.
    ///
    /// # Errors
    /// Fails with a message for the operator.
    pub fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.builds > 0,
            "retention.builds must be at least 1: the newest build's log is what people look at"
        );
        anyhow::ensure!(self.history_builds > 0, "retention.history_builds must be at least 1");
        anyhow::ensure!(
            self.deliveries >= Duration::from_secs(8 * DAY),
            "retention.deliveries must be at least 8days: GitHub lets people redeliver for some days, and a redelivery \
             of a forgotten delivery would make a second build"
        );
        Ok(())
    }
}

/// Formats a time in words: in days if it is a whole number of them, since months have no fixed length.
fn in_days(time: Duration) -> String {
    match (time.as_secs() / DAY, time.as_secs() % DAY) {
        (1, 0) => "1 day".to_owned(),
        (days, 0) if days > 0 => format!("{days} days"),
        _ => humantime::format_duration(time).to_string(),
    }
}

/// Removes up to `most` objects that are too old, or of builds that are too many, from the rows that name them, and
/// records the reason. Objects of unfinished builds stay. Of each repository, one call looks at the 20 oldest logs and
/// artifacts of finished builds. Returns the keys of the objects, which no reader can find any more.
pub async fn expire(db: &PgPool, keep: &RetentionConfig, most: i64) -> sqlx::Result<Vec<String>> {
    let by_age = |what: &str, age: Duration| format!("it was removed after {} (retention.{what})", in_days(age));
    sqlx::query_scalar(
        "with oldest as (
             select log.*, last_build from repo, lateral (
                 select 'log' as what, job_id, key, $1::interval as age, $2 as by_age, job.finished_at, build.number
                 from log_object join job on job.id = job_id join build on build.id = build_id
                 where log_object.repo_id = repo.id and key is not null and build.finished_at is not null
                 order by job_id limit 20
             ) log
             union all
             select file.*, last_build from repo, lateral (
                 select 'artifact', job_id, key, $3::interval, $4, job.finished_at, build.number
                 from artifact join job on job.id = job_id join build on build.id = build_id
                 where artifact.repo_id = repo.id and key is not null and build.finished_at is not null
                 order by job_id limit 20
             ) file
         ), chosen as (
             select what, key, case when finished_at < now() - age then by_age else $6 end as why
             from oldest where finished_at < now() - age or number <= last_build - $5
             order by job_id, key limit $7
         ), logs as (
             update log_object set key = null, frames = '{}', removed = why
             from chosen where what = 'log' and log_object.key = chosen.key returning chosen.key
         ), artifacts as (
             update artifact set key = null, removed = why
             from chosen where what = 'artifact' and artifact.key = chosen.key returning chosen.key
         )
         select key from logs union all select key from artifacts",
    )
    .bind(keep.logs)
    .bind(by_age("logs", keep.logs))
    .bind(keep.artifacts)
    .bind(by_age("artifacts", keep.artifacts))
    .bind(i64::from(keep.builds))
    .bind(format!("it was removed when there were {} newer builds (retention.builds)", keep.builds))
    .bind(most)
    .fetch_all(db)
    .await
}

/// Removes up to `most` objects while all of them together are larger than permitted, as [`expire`] does: artifacts of
/// forks first, then the oldest. Of each kind, one call looks at the `most` oldest.
pub async fn make_room(db: &PgPool, keep: &RetentionConfig, most: i64) -> sqlx::Result<Vec<String>> {
    let total: i64 = sqlx::query_scalar(
        "select (select coalesce(sum(size), 0) from log_object where key is not null)::bigint
             + (select coalesce(sum(size), 0) from artifact where key is not null)::bigint",
    )
    .fetch_one(db)
    .await?;
    let excess = total.saturating_sub(i64::try_from(keep.total_size.as_u64()).unwrap_or(i64::MAX));
    if excess <= 0 {
        return Ok(Vec::new());
    }
    sqlx::query_scalar(
        "with oldest as (
             select 0 as rank, 'artifact' as what, * from (
                 select job_id, attempt, key, size from artifact
                 where key is not null and strpos(key, '/artifacts/forks/') > 0 order by job_id limit $2
             ) forks
             union all
             select 1, 'log', * from (
                 select job_id, attempt, key, size from log_object where key is not null order by job_id limit $2
             ) log
             union all
             select 1, 'artifact', * from (
                 select job_id, attempt, key, size from artifact where key is not null order by job_id limit $2
             ) file where strpos(key, '/artifacts/forks/') = 0
         ), placed as (
             select what, key, sum(size) over (order by rank, job_id, oldest.attempt, what desc, key) - size as before
             from oldest join job on job.id = job_id join build on build.id = build_id
             where build.finished_at is not null
         ), chosen as (
             select what, key from placed where before < $1 order by before limit $2
         ), logs as (
             update log_object set key = null, frames = '{}', removed = $3
             from chosen where what = 'log' and log_object.key = chosen.key returning chosen.key
         ), artifacts as (
             update artifact set key = null, removed = $3
             from chosen where what = 'artifact' and artifact.key = chosen.key returning chosen.key
         )
         select key from logs union all select key from artifacts",
    )
    .bind(excess)
    .bind(most)
    .bind("it was removed to make room for newer ones (retention.total_size)")
    .fetch_all(db)
    .await
}

/// Builds that were deleted.
#[derive(Debug, Default)]
pub struct Deleted {
    /// Number of builds.
    pub builds: usize,
    /// Keys of their logs and artifacts, which no row names any more.
    pub keys: Vec<String>,
}

/// Deletes up to `most` builds that ended too long ago, or that are too many, with everything that belongs to them. A
/// build with an unfinished job stays, and for a week one whose status GitHub does not show yet: a service whose token
/// GitHub refuses owes its statuses for ever.
pub async fn forget_builds(db: &PgPool, keep: &RetentionConfig, most: i64) -> sqlx::Result<Deleted> {
    let mut tx = db.begin().await?;
    let due: Vec<BuildId> = sqlx::query_scalar(
        "select id from (
             (select id from build where finished_at < now() - $1 order by finished_at limit $3)
             union
             select old.id from repo, lateral (
                 select id from build
                 where repo_id = repo.id and number <= last_build - $2 and finished_at is not null
                 order by number limit $3
             ) old
         ) due
         where not exists (select from job where build_id = due.id and state <> 'finished')
           and not exists (
               select from wish join build on build.id = build_id
               where build_id = due.id and sent_seq < wanted_seq and given_up_seq < wanted_seq
                   and finished_at > now() - interval '7 days'
           )
         limit $3",
    )
    .bind(keep.history)
    .bind(i64::from(keep.history_builds))
    .bind(most)
    .fetch_all(&mut *tx)
    .await?;
    let deleted = delete(&mut tx, &due).await?;
    tx.commit().await?;
    Ok(deleted)
}

/// Deletes these builds with everything that belongs to them.
pub(in crate::store) async fn delete(tx: &mut PgConnection, builds: &[BuildId]) -> sqlx::Result<Deleted> {
    let keys = sqlx::query_scalar(
        "select key from job join log_object on job_id = job.id where build_id = any($1) and key is not null
         union all
         select key from job join artifact on job_id = job.id where build_id = any($1) and key is not null",
    )
    .bind(builds)
    .fetch_all(&mut *tx)
    .await?;
    let deleted = sqlx::query("delete from build where id = any($1)").bind(builds).execute(tx).await?;
    Ok(Deleted { builds: usize::try_from(deleted.rows_affected()).unwrap_or(usize::MAX), keys })
}

/// Deletes up to `most` deliveries that were processed long ago. Returns their number.
pub async fn forget_deliveries(db: &PgPool, keep: &RetentionConfig, most: i64) -> sqlx::Result<u64> {
    let deleted = sqlx::query(
        "delete from delivery
         where id in (select id from delivery where done_at < now() - $1 order by done_at limit $2)",
    )
    .bind(keep.deliveries)
    .bind(most)
    .execute(db)
    .await?;
    Ok(deleted.rows_affected())
}

/// Deletes up to `most` wishes of finished builds that GitHub accepted long ago. Returns their number.
pub async fn forget_statuses(db: &PgPool, keep: &RetentionConfig, most: i64) -> sqlx::Result<u64> {
    let deleted = sqlx::query(
        "delete from wish where id in (
             select wish.id from wish join build on build.id = build_id
             where sent_seq = wanted_seq and not_before < now() - $1 and finished_at is not null
             order by not_before limit $2)
         and sent_seq = wanted_seq",
    )
    .bind(keep.statuses)
    .bind(most)
    .execute(db)
    .await?;
    Ok(deleted.rows_affected())
}

/// Key of the lock that keeps objects: held together by backups, and alone by those who remove objects.
const OBJECTS_LOCK: i64 = 0x7472_6169_6e6f_626a;

/// Keeps all objects for as long as the connection lives. Waits for the end of a removal that goes on.
pub async fn hold_objects(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query("select pg_advisory_lock_shared($1)").bind(OBJECTS_LOCK).execute(connection).await?;
    Ok(())
}

/// Returns a transaction during which objects may be removed; `None` while a backup needs them, or while others
/// remove some.
pub async fn may_remove_objects(db: &PgPool) -> sqlx::Result<Option<Transaction<'static, Postgres>>> {
    let mut transaction = db.begin().await?;
    let is_free = sqlx::query_scalar("select pg_try_advisory_xact_lock($1)").bind(OBJECTS_LOCK);
    let is_free: bool = is_free.fetch_one(&mut *transaction).await?;
    Ok(is_free.then_some(transaction))
}

/// Returns the keys that no row names.
pub async fn unnamed(db: &PgPool, keys: &[String]) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "select key from unnest($1::text[]) as listed (key)
         where not exists (select from log_object where log_object.key = listed.key)
           and not exists (select from artifact where artifact.key = listed.key)
           and not exists (select from checkpoint where checkpoint.key = listed.key)",
    )
    .bind(keys)
    .fetch_all(db)
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_people_set_them() {
        let told = [DAY, 90 * DAY, 3600, 36 * 3600].map(|seconds| in_days(Duration::from_secs(seconds)));
        assert_eq!(told, ["1 day", "90 days", "1h", "1day 12h"]);
    }
}
