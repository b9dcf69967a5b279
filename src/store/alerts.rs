//! What keeps Trainyard from working right now, so that every page can say it.

use sqlx::PgPool;

/// One alert that lasts.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Alert {
    /// What is in alert, such as `runner local` or `github`.
    pub component: String,
    /// What is wrong and what to do.
    pub message: String,
}

/// Says that a component is in alert (a message) or well (none). True when that is news.
///
/// # Errors
/// When Postgres cannot be asked.
pub async fn set(db: &PgPool, component: &str, message: Option<&str>) -> sqlx::Result<bool> {
    let changed = match message {
        Some(message) => {
            sqlx::query(
                "insert into alert (component, message) values ($1, $2)
                 on conflict (component) do update set message = excluded.message
                 where alert.message <> excluded.message",
            )
            .bind(component)
            .bind(message)
            .execute(db)
            .await?
        }
        None => sqlx::query("delete from alert where component = $1").bind(component).execute(db).await?,
    };
    Ok(changed.rows_affected() > 0)
}

/// Every alert there is now, oldest first.
///
/// # Errors
/// When Postgres cannot be asked.
pub async fn all(db: &PgPool) -> sqlx::Result<Vec<Alert>> {
    sqlx::query_as("select component, message from alert order by since").fetch_all(db).await
}

/// Forgets the alerts of runners that nobody has served for a while; who serves one tells of it again and again.
///
/// # Errors
/// When Postgres cannot be asked.
pub async fn forget_runners(db: &PgPool) -> sqlx::Result<()> {
    sqlx::query(
        "delete from alert using runner where seen_at < now() - interval '10 min'
             and component in ('runner ' || name, 'GPUs of runner ' || name, 'disk of runner ' || name, 'disk of ' || host)",
    )
    .execute(db)
    .await?;
    Ok(())
}
