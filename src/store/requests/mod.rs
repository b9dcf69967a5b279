//! Requests for builds over the API, by schedules and by comments. A request is a delivery that Trainyard made itself:
//! so it is worked on, tried again and given up like GitHub's.

pub mod commands;

use serde::Serialize;
use sqlx::{PgConnection, PgPool};

use crate::domain::{BuildId, BuildRequest, DeliveryId, FoundPull, RepoId};

/// Event of these deliveries.
const EVENT: &str = "request";
/// Event of those that are about a pull request.
pub const PULL_REQUEST: &str = "pull_request";
/// Number of requests of a repository that may wait for their build.
pub const MAX_OPEN: i64 = 20;

/// Stores a request, unless [`MAX_OPEN`] of the repository wait. The builds of two equal requests are two builds.
pub async fn insert(tx: &mut PgConnection, request: &BuildRequest) -> sqlx::Result<Option<DeliveryId>> {
    store(tx, request.repo, EVENT, request).await
}

/// Stores a request for the build of a pull request, under the same bound.
pub async fn insert_pull(tx: &mut PgConnection, found: &FoundPull) -> sqlx::Result<Option<DeliveryId>> {
    store(tx, found.repo, PULL_REQUEST, found).await
}

async fn store(
    tx: &mut PgConnection,
    repo: RepoId,
    event: &str,
    request: &impl Serialize,
) -> sqlx::Result<Option<DeliveryId>> {
    let body = serde_json::to_vec(request).map_err(|error| sqlx::Error::Encode(error.into()))?;
    sqlx::query_scalar(
        "insert into delivery (id, source, event, body, repo)
         select $1::text || gen_random_uuid(), 'request', $2, $3, (select owner || '/' || name from repo where id = $5)
         where (select count(*) from delivery where done_at is null and starts_with(id, $1)) < $4
         returning id",
    )
    .bind(prefix(repo))
    .bind(event)
    .bind(body)
    .bind(MAX_OPEN)
    .bind(repo)
    .fetch_optional(tx)
    .await
}

fn prefix(repo: RepoId) -> String {
    format!("request-{repo}-")
}

/// State of a request.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct RequestState {
    /// Outcome in words; `None` while it waits.
    pub outcome: Option<String>,
    /// Failure of its last try.
    pub last_error: Option<String>,
    /// Number of its build.
    pub build: Option<i32>,
    /// Key of its build.
    pub build_id: Option<BuildId>,
}

/// Returns the state of a request of a repository.
pub async fn state(db: &PgPool, repo: RepoId, id: &DeliveryId) -> sqlx::Result<Option<RequestState>> {
    sqlx::query_as(
        "select outcome, last_error, number as build, build.id as build_id
         from delivery left join build on delivery_id = delivery.id
         where delivery.id = $1 and source = 'request' and starts_with(delivery.id, $2)",
    )
    .bind(id)
    .bind(prefix(repo))
    .fetch_optional(db)
    .await
}
