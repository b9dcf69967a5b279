//! Requests with an idempotency key. The first one with a key is carried out, and later ones get its answer.

use std::time::Duration;

use sqlx::PgPool;

/// Time for which answers are kept.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// Time after which a request without an answer counts as lost, because its process has ended. It may be sent again.
const LOST_AFTER: Duration = Duration::from_secs(60);

/// A request with its key.
#[derive(Debug, Clone)]
pub struct Keyed {
    /// Name of the sender, which no other sender has.
    pub caller: String,
    /// Method and path.
    pub route: String,
    pub key: String,
    pub body_digest: Vec<u8>,
}

/// An answer that was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub content_type: Option<String>,
    pub body: Vec<u8>,
}

/// State of a key when a request begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// The request is the first one, and is in progress now.
    First,
    /// The request was answered before.
    Answered(Answer),
    /// The first one is in progress.
    InProgress,
    /// The first one had another body.
    OtherBody,
}

#[derive(sqlx::FromRow)]
struct Row {
    is_same: bool,
    status: Option<i16>,
    content_type: Option<String>,
    answer: Option<Vec<u8>>,
}

/// Begins a request.
pub async fn begin(db: &PgPool, request: &Keyed) -> sqlx::Result<Begun> {
    let Keyed { caller, route, key, body_digest } = request;
    let inserted = sqlx::query(
        "insert into keyed_request as old (caller, route, key, body_digest) values ($1, $2, $3, $4)
         on conflict (caller, route, key) do update set begun_at = now(), body_digest = $4, status = null,
             content_type = null, answer = null
         where old.begun_at < now() - $5::interval
             or (old.status is null and old.body_digest = $4 and old.begun_at < now() - $6::interval)",
    )
    .bind(caller)
    .bind(route)
    .bind(key)
    .bind(body_digest)
    .bind(KEPT)
    .bind(LOST_AFTER)
    .execute(db)
    .await?;
    if inserted.rows_affected() == 1 {
        return Ok(Begun::First);
    }
    let row: Option<Row> = sqlx::query_as(
        "select body_digest = $4 as is_same, status, content_type, answer from keyed_request
         where caller = $1 and route = $2 and key = $3",
    )
    .bind(caller)
    .bind(route)
    .bind(key)
    .bind(body_digest)
    .fetch_optional(db)
    .await?;
    Ok(match row {
        // It was deleted just now: its request has failed, and the next one is the first.
        None => Begun::InProgress,
        Some(Row { is_same: false, .. }) => Begun::OtherBody,
        Some(Row { status: Some(status), content_type, answer: Some(body), .. }) => {
            Begun::Answered(Answer { status: status.unsigned_abs(), content_type, body })
        }
        Some(_) => Begun::InProgress,
    })
}

/// Keeps the answer to a request.
pub async fn answer(db: &PgPool, request: &Keyed, answer: &Answer) -> sqlx::Result<()> {
    sqlx::query(
        "update keyed_request set status = $5, content_type = $6, answer = $7
         where caller = $1 and route = $2 and key = $3 and body_digest = $4 and status is null",
    )
    .bind(&request.caller)
    .bind(&request.route)
    .bind(&request.key)
    .bind(&request.body_digest)
    .bind(i16::try_from(answer.status).unwrap_or(i16::MAX))
    .bind(&answer.content_type)
    .bind(&answer.body)
    .execute(db)
    .await?;
    Ok(())
}

/// Forgets a request that has failed, so that it can be sent again.
pub async fn remove(db: &PgPool, request: &Keyed) -> sqlx::Result<()> {
    sqlx::query("delete from keyed_request where caller = $1 and route = $2 and key = $3 and status is null")
        .bind(&request.caller)
        .bind(&request.route)
        .bind(&request.key)
        .execute(db)
        .await?;
    Ok(())
}

/// Deletes up to `most` old requests. Returns their number.
pub async fn forget(db: &PgPool, most: i64) -> sqlx::Result<u64> {
    let deleted = sqlx::query(
        "delete from keyed_request where (caller, route, key) in (
             select caller, route, key from keyed_request where begun_at < now() - $1::interval
             order by begun_at limit $2)",
    )
    .bind(KEPT)
    .bind(most)
    .execute(db)
    .await?;
    Ok(deleted.rows_affected())
}
