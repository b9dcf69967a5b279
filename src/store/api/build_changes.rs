//! Changes of builds. Triggers of the schema write the rows, in the transactions that change states.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use sqlx::PgPool;

use crate::domain::{BuildId, JobId};

/// Time for which changes are kept: readers continue after an interruption of that length.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// Place of a change in the order of all changes. It increases, and it has gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, sqlx::FromRow)]
pub struct Place {
    xid: i64,
    id: i64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.xid, self.id)
    }
}

/// The error for a text that is not a [`Place`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAPlace;

impl FromStr for Place {
    type Err = NotAPlace;

    fn from_str(text: &str) -> Result<Self, NotAPlace> {
        let (xid, id) = text.split_once('-').ok_or(NotAPlace)?;
        let number = |text: &str| text.parse().ok().filter(|number: &i64| *number >= 0).ok_or(NotAPlace);
        Ok(Self { xid: number(xid)?, id: number(id)? })
    }
}

/// A change of a build's state, or of the state of one of its jobs or of that job's publications.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub struct Change {
    #[sqlx(flatten)]
    pub place: Place,
    pub build_id: BuildId,
    pub job_id: Option<JobId>,
}

/// Returns the place behind all changes that are known now.
pub async fn end(db: &PgPool) -> sqlx::Result<Place> {
    Ok(Place { xid: horizon(db).await? - 1, id: i64::MAX })
}

/// Returns the id of the oldest transaction in this database that may not be over. All before it are over, and the next
/// statement sees their rows.
///
/// The transactions in other databases of the server are not asked for, as one of them may take hours. They are read
/// after the snapshot is taken. So one that began in between has an id that is not below the end of the snapshot.
async fn horizon(db: &PgPool) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "select pg_snapshot_xmax(pg_current_snapshot())::text::bigint - coalesce(
             (select max(age(backend_xid)) from pg_stat_activity
              where datname = current_database() and backend_xid is not null), 0)",
    )
    .fetch_one(db)
    .await
}

/// Lists the first `most` changes after a place, of transactions before the oldest one that may not be over.
pub async fn after(db: &PgPool, place: Place, most: i64) -> sqlx::Result<Vec<Change>> {
    let horizon = horizon(db).await?;
    sqlx::query_as(
        "select xid::text::bigint as xid, id, build_id, job_id from build_change
         where (xid, id) > ($1::text::xid8, $2) and xid < $4::text::xid8
         order by build_change.xid, id limit $3",
    )
    .bind(place.xid.to_string())
    .bind(place.id)
    .bind(most)
    .bind(horizon.to_string())
    .fetch_all(db)
    .await
}

/// Deletes up to `most` old changes. Returns their number.
pub async fn forget(db: &PgPool, most: i64) -> sqlx::Result<u64> {
    let deleted = sqlx::query(
        "delete from build_change where (xid, id) in (
             select xid, id from build_change where at < now() - $1::interval limit $2)",
    )
    .bind(KEPT)
    .bind(most)
    .execute(db)
    .await?;
    Ok(deleted.rows_affected())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_as_it_is_written() {
        let place = Place { xid: 12, id: 3 };
        assert_eq!(place.to_string().parse(), Ok(place));
        for wrong in ["", "12", "-1-2", "1--2", "a-1", "1-99999999999999999999"] {
            assert_eq!(wrong.parse::<Place>(), Err(NotAPlace), "{wrong}");
        }
    }
}
