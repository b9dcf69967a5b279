//! The record of what people changed, and of their logins.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgPool;
use utoipa::ToSchema;

use crate::domain::{bounded, pg_text};

/// Maximum length of a text in the record, in characters.
const MAX_TEXT: usize = 300;

/// An entry of the record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema, sqlx::FromRow)]
#[schema(as = AuditEntry)]
pub struct Entry {
    pub id: i64,
    pub at: DateTime<Utc>,
    /// Name of the person or the token.
    pub who: String,
    /// The change, such as `cancel`.
    pub what: String,
    /// The thing that was changed, such as a path.
    pub target: String,
    /// The address that the request came from; empty for a command.
    pub address: String,
}

/// An entry to be stored.
#[derive(Debug, Clone, Copy)]
pub struct New<'a> {
    /// Name of the person or the token.
    pub who: &'a str,
    /// The change, such as `cancel`.
    pub what: &'a str,
    /// The thing that was changed, such as a path.
    pub target: &'a str,
    /// The address that the request came from; empty for a command.
    pub address: &'a str,
}

/// Adds an entry. Texts may come from anyone, so they are bounded.
pub async fn add(db: &PgPool, new: New<'_>) -> sqlx::Result<()> {
    let text = |text: &str| bounded(pg_text(text), MAX_TEXT);
    sqlx::query("insert into audit (who, what, target, address) values ($1, $2, $3, $4)")
        .bind(text(new.who))
        .bind(text(new.what))
        .bind(text(new.target))
        .bind(text(new.address))
        .execute(db)
        .await?;
    Ok(())
}

/// Lists up to `most` entries before `before`, the newest first.
pub async fn list(db: &PgPool, before: Option<i64>, most: i64) -> sqlx::Result<Vec<Entry>> {
    sqlx::query_as(
        "select id, at, who, what, target, address from audit where $1::bigint is null or id < $1
         order by id desc limit $2",
    )
    .bind(before)
    .bind(most)
    .fetch_all(db)
    .await
}

/// Deletes up to `most` entries that are older than `age`. Returns their number.
pub async fn forget(db: &PgPool, age: Duration, most: i64) -> sqlx::Result<u64> {
    let deleted = sqlx::query(
        "delete from audit where id in (select id from audit where at < now() - $1::interval order by at limit $2)",
    )
    .bind(age)
    .bind(most)
    .execute(db)
    .await?;
    Ok(deleted.rows_affected())
}
