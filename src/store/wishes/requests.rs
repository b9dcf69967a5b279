//! Requests for wishes in the last hour, which a restart does not forget.

use std::collections::BTreeMap;
use std::time::Duration;

use sqlx::PgPool;

/// Requests of the last hour, as [`requests`] finds them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Requests {
    /// Time since each request, the oldest first.
    pub ages: Vec<Duration>,
    /// Rest of the pause that GitHub asked for.
    pub quiet: Duration,
}

/// Records a request with the token of an installation, or with the personal one, before it is sent. Forgets those of
/// more than an hour ago.
pub async fn request(db: &PgPool, installation: Option<i64>) -> sqlx::Result<()> {
    sqlx::query(
        "with old as (delete from status_request where at < now() - interval '1 hour')
         insert into status_request (installation) values ($1)",
    )
    .bind(installation)
    .execute(db)
    .await?;
    Ok(())
}

/// Records that GitHub asked for a pause of requests with this token.
pub async fn quiet(db: &PgPool, installation: Option<i64>, pause: Duration) -> sqlx::Result<()> {
    sqlx::query("insert into status_request (quiet_until, installation) values (now() + $1, $2)")
        .bind(pause)
        .bind(installation)
        .execute(db)
        .await?;
    Ok(())
}

/// Returns the requests of the last hour, by the token's installation. Those that a wrong clock has put into the future
/// count as made now.
pub async fn requests(db: &PgPool) -> sqlx::Result<BTreeMap<Option<i64>, Requests>> {
    let rows: Vec<(Option<i64>, f64, Option<f64>)> = sqlx::query_as(
        "select installation, extract(epoch from now() - at)::float8, extract(epoch from quiet_until - now())::float8
         from status_request where at > now() - interval '1 hour' order by at",
    )
    .fetch_all(db)
    .await?;
    let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or_default();
    let mut requests: BTreeMap<Option<i64>, Requests> = BTreeMap::new();
    for (installation, age, quiet) in rows {
        let of_token = requests.entry(installation).or_default();
        match quiet {
            Some(quiet) => of_token.quiet = of_token.quiet.max(seconds(quiet)),
            None => of_token.ages.push(seconds(age)),
        }
    }
    Ok(requests)
}
