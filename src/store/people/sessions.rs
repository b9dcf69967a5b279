//! Sessions of browsers. A row has the digest of the cookie's value, so that a copy of the database opens none.

use std::time::Duration;

use sqlx::PgPool;

use super::persons::Person;
use crate::domain::PersonId;

/// Time without a request after which a session ends.
pub const IDLE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Time after the login at which a session ends.
pub const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);
/// The same for a person of a provider of OpenID Connect: it alone knows who has left, and says so at a login.
pub const LONGEST_OF_PROVIDER: Duration = Duration::from_secs(24 * 3600);
/// Time after which the value of the cookie changes.
pub const CHANGE_AFTER: Duration = Duration::from_secs(3600);
/// Time for which the value before it stays good: for requests that were under way.
const OVERLAP: Duration = Duration::from_secs(120);
/// Time after which a request is worth a write.
const TOUCH_AFTER: Duration = Duration::from_secs(60);

/// A session that is good now.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Session {
    #[sqlx(rename = "session_id")]
    pub id: i64,
    #[sqlx(flatten)]
    pub person: Person,
    /// Text that forms of its pages send back.
    pub csrf: String,
    /// True when it was not seen for a while.
    pub is_unseen: bool,
    /// True when the cookie should get another value.
    pub is_due: bool,
}

/// Stores a new session of a person, with the digest of the cookie's value.
pub async fn insert(db: &PgPool, person: PersonId, digest: &[u8], csrf: &str) -> sqlx::Result<()> {
    sqlx::query("insert into session (person_id, digest, csrf) values ($1, $2, $3)")
        .bind(person)
        .bind(digest)
        .bind(csrf)
        .execute(db)
        .await?;
    Ok(())
}

/// Finds the session of a cookie's value.
pub async fn find(db: &PgPool, digest: &[u8]) -> sqlx::Result<Option<Session>> {
    sqlx::query_as(
        "select session.id as session_id, person.id, name, github_id, issuer, is_operator, csrf,
             seen_at < now() - $4::interval as is_unseen,
             digest = $1 and changed_at < now() - $5::interval as is_due
         from session join person on person.id = person_id
         where (digest = $1 or (previous = $1 and changed_at > now() - $6::interval))
           and seen_at > now() - $2::interval
           and session.created_at > now() - case when issuer is null then $3::interval else $7 end",
    )
    .bind(digest)
    .bind(IDLE)
    .bind(LONGEST)
    .bind(TOUCH_AFTER)
    .bind(CHANGE_AFTER)
    .bind(OVERLAP)
    .bind(LONGEST_OF_PROVIDER)
    .fetch_optional(db)
    .await
}

/// Returns true if a session is still good.
pub async fn is_good(db: &PgPool, session: i64) -> sqlx::Result<bool> {
    sqlx::query_scalar(
        "select exists (select from session join person on person.id = person_id
             where session.id = $1 and seen_at > now() - $2::interval
                 and session.created_at > now() - case when issuer is null then $3::interval else $4 end)",
    )
    .bind(session)
    .bind(IDLE)
    .bind(LONGEST)
    .bind(LONGEST_OF_PROVIDER)
    .fetch_one(db)
    .await
}

/// Records that a session was seen.
pub async fn touch(db: &PgPool, session: i64) -> sqlx::Result<()> {
    sqlx::query("update session set seen_at = now() where id = $1").bind(session).execute(db).await?;
    Ok(())
}

/// Gives a session another value. Returns false if a request beside this one has done so.
pub async fn change(db: &PgPool, session: i64, digest: &[u8], new: &[u8]) -> sqlx::Result<bool> {
    let changed = sqlx::query(
        "update session set previous = digest, digest = $3, changed_at = now(), seen_at = now()
         where id = $1 and digest = $2",
    )
    .bind(session)
    .bind(digest)
    .bind(new)
    .execute(db)
    .await?;
    Ok(changed.rows_affected() == 1)
}

/// Ends a session.
pub async fn end(db: &PgPool, session: i64) -> sqlx::Result<()> {
    sqlx::query("delete from session where id = $1").bind(session).execute(db).await?;
    Ok(())
}

/// Ends the session of a cookie's value.
pub async fn end_of(db: &PgPool, digest: &[u8]) -> sqlx::Result<()> {
    sqlx::query("delete from session where digest = $1 or previous = $1").bind(digest).execute(db).await?;
    Ok(())
}

/// Deletes up to `most` sessions that are no longer good. Returns their number.
pub async fn forget(db: &PgPool, most: i64) -> sqlx::Result<u64> {
    let deleted = sqlx::query(
        "delete from session where id in (
             select id from session where seen_at < now() - $1::interval or created_at < now() - $2::interval limit $3)",
    )
    .bind(IDLE)
    .bind(LONGEST)
    .bind(most)
    .execute(db)
    .await?;
    Ok(deleted.rows_affected())
}
