//! The alerts: problems that keep Trainyard from working at the moment, which every page shows.

use serde::Serialize;
use sqlx::PgPool;
use utoipa::ToSchema;

/// A problem that lasts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema, sqlx::FromRow)]
pub struct Alert {
    /// Name of the affected component, such as `runner local` or `github`.
    pub component: String,
    /// Sentence that states the problem and what to do.
    pub message: String,
}

/// Stores an alert on a component, or removes it (for `None`). Returns true if that changed anything.
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

/// Lists all current alerts, oldest first.
pub async fn all(db: &PgPool) -> sqlx::Result<Vec<Alert>> {
    sqlx::query_as("select component, message from alert order by since").fetch_all(db).await
}

/// Removes the alerts of runners that no process has served for a while. A process that serves a runner stores its
/// alerts again and again.
pub async fn forget_runners(db: &PgPool) -> sqlx::Result<()> {
    sqlx::query(
        "delete from alert using runner where seen_at < now() - interval '10 min'
             and component in ('runner ' || name, 'GPUs of runner ' || name, 'disk of runner ' || name, 'disk of ' || host)",
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Returns the component of alerts on GitHub and one repository.
pub fn github_of(owner: &str, name: &str) -> String {
    format!("github {owner}/{name}")
}

/// Removes the alerts of repositories for which no status is owed, and none was given up in the last week: such a
/// repository may not exist any more, so no accepted status will remove its alert.
pub async fn forget_repositories(db: &PgPool) -> sqlx::Result<()> {
    sqlx::query(
        "delete from alert where component like 'github %'
             and not exists (
                 select from wish join repo on repo.id = repo_id
                 where component = 'github ' || owner || '/' || name and sent_seq < wanted_seq and given_up_seq < wanted_seq)
             and not exists (
                 select from wish join repo on repo.id = repo_id
                 where component = 'github ' || owner || '/' || name and sent_seq < wanted_seq and given_up_seq = wanted_seq
                     and not_before > now() - interval '7 days')",
    )
    .execute(db)
    .await?;
    Ok(())
}
