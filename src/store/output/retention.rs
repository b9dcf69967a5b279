//! Retention: how long logs, artifacts and the bodies of deliveries are kept. Only these take much space. Builds and
//! jobs stay, as the history that people read.

use std::time::Duration;

use bytesize::ByteSize;
use serde::Deserialize;
use sqlx::PgPool;

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
    /// Maximum size of all logs and artifacts. Output of jobs from forks is removed first, so that strangers cannot
    /// make room for theirs with many builds; then the oldest.
    pub total_size: ByteSize,
    /// Time for which the body of a delivery is kept after it was processed.
    #[serde(with = "humantime_serde")]
    pub deliveries: Duration,
}

const DAY: u64 = 24 * 3600;

impl Default for RetentionConfig {
    fn default() -> Self {
        Self {
            logs: Duration::from_secs(90 * DAY),
            artifacts: Duration::from_secs(30 * DAY),
            builds: 1000,
            total_size: ByteSize::gib(100),
            deliveries: Duration::from_secs(30 * DAY),
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

/// Removes up to `most` objects from the rows that name them, and records the reason. The oldest go first; objects of
/// unfinished builds stay. Returns the keys of the objects, which no reader can find any more.
pub async fn expire(db: &PgPool, keep: &RetentionConfig, most: i64) -> sqlx::Result<Vec<String>> {
    let by_age = |what: &str, age: Duration| format!("it was removed after {} (retention.{what})", in_days(age));
    sqlx::query_scalar(
        "with kept as (
             select 'log' as what, job_id, attempt, key, size, $1::interval as age, $2 as by_age
             from log_object where key is not null
             union all
             select 'artifact', job_id, attempt, key, size, $3, $4 from artifact where key is not null
         ), placed as (
             select kept.*, build.id as build_id, job.finished_at < now() - age as is_old,
                 build.number <= repo.last_build - $5 as is_past,
                 sum(size) over (
                     order by strpos(key, '/artifacts/forks/') > 0, build.id desc, job_id desc, kept.attempt desc, what, key
                 ) > $7 as is_too_much
             from kept join job on job.id = job_id join build on build.id = build_id join repo on repo.id = build.repo_id
         ), chosen as (
             select what, job_id, attempt, key,
                 case when is_old then by_age when is_past then $6 else $8 end as why
             from placed join build on build.id = build_id
             where (is_old or is_past or is_too_much) and build.finished_at is not null
             order by build_id, job_id, attempt, key limit $9
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
    .bind(i64::try_from(keep.total_size.as_u64()).unwrap_or(i64::MAX))
    .bind("it was removed to make room for newer ones (retention.total_size)")
    .bind(most)
    .fetch_all(db)
    .await
}

/// Empties up to `most` bodies of deliveries that were processed long ago. Returns their number. The rows stay, so that
/// a redelivery still does not make a second build.
pub async fn forget_bodies(db: &PgPool, keep: &RetentionConfig, most: i64) -> sqlx::Result<u64> {
    let emptied = sqlx::query(
        "update delivery set body = ''
         where id in (select id from delivery where done_at < now() - $1 and octet_length(body) > 0 limit $2)",
    )
    .bind(keep.deliveries)
    .bind(most)
    .execute(db)
    .await?;
    Ok(emptied.rows_affected())
}

/// Returns the keys that no row names.
pub async fn unnamed(db: &PgPool, keys: &[String]) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "select key from unnest($1::text[]) as listed (key)
         where not exists (select from log_object where log_object.key = listed.key)
           and not exists (select from artifact where artifact.key = listed.key)",
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
