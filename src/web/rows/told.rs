//! Notifications of a build, as far as people may see them.

use serde::Serialize;
use sqlx::PgPool;
use url::Url;
use utoipa::ToSchema;

use crate::domain::BuildId;
use crate::hooks::NAME_PREFIX;

/// A notification of the build, as far as people may see it.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Notification)]
pub(in crate::web) struct Told {
    /// `started`, `finished`, `canceled` or `errored` for one of the build; for one of publications,
    /// `publication.approval`, `publication.published`, `publication.failed` or `publication.rejected`.
    pub event: String,
    /// A chat, a webhook of the operator, an email, a room of Slack, or the host of an address.
    pub receiver: String,
    pub outcome: String,
}

/// A notification as it is stored.
#[derive(sqlx::FromRow)]
struct Row {
    event: String,
    /// Name of a receiver of the operator.
    operators: Option<String>,
    is_email: bool,
    is_slack: bool,
    url: Option<String>,
    outcome: String,
}

/// Lists the notifications of a build that were tried. Of an address only the host is shown, as the rest may be a secret.
pub(in crate::web) async fn told(db: &PgPool, build: BuildId) -> sqlx::Result<Vec<Told>> {
    let rows: Vec<Row> = sqlx::query_as(
        "select case when job_id is null then event else 'publication.' || event end as event,
             receiver ->> 'chat' as operators, receiver ? 'email' as is_email, receiver ? 'room' as is_slack,
             case when jsonb_typeof(receiver -> 'url') = 'string' then receiver ->> 'url' end as url, outcome
         from notification where build_id = $1 and outcome is not null order by id",
    )
    .bind(build)
    .fetch_all(db)
    .await?;
    let host = |url: &str| Url::parse(url.trim()).ok().and_then(|url| url.host_str().map(str::to_owned));
    let told = rows.into_iter().map(|Row { event, operators, is_email, is_slack, url, outcome }| {
        let receiver = match (operators, url) {
            (Some(name), _) => match name.strip_prefix(NAME_PREFIX) {
                Some(hook) => format!("the webhook {hook}"),
                None => format!("the chat {name}"),
            },
            (None, Some(url)) => host(&url).unwrap_or_else(|| "no address".to_owned()),
            (None, None) if is_email => "an email".to_owned(),
            (None, None) if is_slack => "a room of Slack".to_owned(),
            (None, None) => "a secret address".to_owned(),
        };
        Told { event, receiver, outcome }
    });
    Ok(told.collect())
}
