//! The link with which the first operator is made, while nobody can log in. A row has the digest of its secret.

use std::time::Duration;

use sqlx::PgPool;

use crate::domain::PersonId;

/// Time for which a link is good.
pub const GOOD_FOR: Duration = Duration::from_secs(24 * 3600);

/// Stores the digest of a new link's secret. The link before it ends.
pub async fn put(db: &PgPool, digest: &[u8]) -> sqlx::Result<()> {
    sqlx::query(
        "insert into setup_link (digest) values ($1)
         on conflict (is_only) do update set digest = excluded.digest, made_at = now()",
    )
    .bind(digest)
    .execute(db)
    .await?;
    Ok(())
}

/// Ends the link.
pub async fn end(db: &PgPool) -> sqlx::Result<()> {
    sqlx::query("delete from setup_link").execute(db).await?;
    Ok(())
}

/// Returns true if this is the digest of the link's secret, and the link is good.
pub async fn is_good(db: &PgPool, digest: &[u8]) -> sqlx::Result<bool> {
    sqlx::query_scalar("select exists (select from setup_link where digest = $1 and made_at > now() - $2::interval)")
        .bind(digest)
        .bind(GOOD_FOR)
        .fetch_one(db)
        .await
}

/// Uses the link up, and makes the first operator: a local user with the hash of a password. Returns `None`, and makes
/// nobody, if the link is not good, or if somebody can log in already.
pub async fn spend(db: &PgPool, digest: &[u8], name: &str, password: &str) -> sqlx::Result<Option<PersonId>> {
    let mut tx = db.begin().await?;
    // Two requests at once wait for each other here, and the later one finds no row.
    let used = sqlx::query("delete from setup_link where digest = $1 and made_at > now() - $2::interval")
        .bind(digest)
        .bind(GOOD_FOR)
        .execute(&mut *tx)
        .await?;
    if used.rows_affected() == 0 {
        return Ok(None);
    }
    let made = sqlx::query_scalar(
        "insert into person (name, password, is_operator)
         select $1, $2, true
         where not exists (select from person where password is not null)
           and not exists (select from github_app where client_secret is not null)
         returning id",
    )
    .bind(name)
    .bind(password)
    .fetch_optional(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(made)
}
