//! Notifications of a build, as far as people may see them.

use serde::Serialize;
use sqlx::PgPool;
use url::Url;
use utoipa::ToSchema;

use crate::domain::BuildId;

/// A notification of the build, as far as people may see it.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Notification)]
pub(in crate::web) struct Told {
    pub event: String,
    /// A chat, or the host of an address.
    pub receiver: String,
    pub outcome: String,
}

/// Lists the notifications of a build that were tried. Of an address only the host is shown, as the rest may be a secret.
pub(in crate::web) async fn told(db: &PgPool, build: BuildId) -> sqlx::Result<Vec<Told>> {
    let rows: Vec<(String, Option<String>, Option<String>, String)> = sqlx::query_as(
        "select event, receiver ->> 'chat', case when jsonb_typeof(receiver -> 'url') = 'string' then receiver ->> 'url' end,
             outcome
         from notification where build_id = $1 and outcome is not null order by id",
    )
    .bind(build)
    .fetch_all(db)
    .await?;
    let host = |url: &str| Url::parse(url.trim()).ok().and_then(|url| url.host_str().map(str::to_owned));
    let told = rows.into_iter().map(|(event, chat, url, outcome)| {
        let receiver = match (chat, url) {
            (Some(chat), _) => format!("the chat {chat}"),
            (None, Some(url)) => host(&url).unwrap_or_else(|| "no address".to_owned()),
            (None, None) => "a secret address".to_owned(),
        };
        Told { event, receiver, outcome }
    });
    Ok(told.collect())
}
