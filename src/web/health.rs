//! Health checks for supervisors and load balancers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract;
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::sync::Mutex;
use tracing::warn;

use super::State;
use crate::store::people::persons;
use crate::store::{MIGRATOR, alerts};

/// Time limit for an answer. A load balancer waits no longer for it.
const LIMIT: Duration = Duration::from_secs(2);
/// Time for which an answer is good for others who ask.
const FRESH: Duration = Duration::from_millis(200);

/// Check of Postgres. It uses the connections of the steps, so that a flood of pages does not make the service look as
/// if it were down. All who ask at the same time share one answer, so that they take one connection at most.
#[derive(Debug, Clone)]
pub struct Health {
    db: PgPool,
    last: Arc<Mutex<Option<(Instant, Answer)>>>,
}

#[derive(Debug, Clone)]
struct Answer {
    status: StatusCode,
    body: Value,
    has_login: bool,
}

/// `GET /healthz`: answers as long as the process is up.
pub(super) async fn alive() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: ready when Postgres is reachable and has the schema of this version. Also lists the alerts.
///
/// Alerts name repositories and machines, and the reason names parts of the service. So they are for those who may read
/// everything, and for tokens of `[auth]`. Others get the bare state.
pub(super) async fn ready(
    extract::State(state): extract::State<State>,
    headers: HeaderMap,
) -> (StatusCode, Json<Value>) {
    let answered = match tokio::time::timeout(LIMIT, state.health.answer()).await {
        Ok(answer) => answer,
        Err(_) => {
            warn!("not ready: Postgres did not answer within {}", humantime::format_duration(LIMIT));
            not_ready("Postgres does not answer in time")
        }
    };
    let Answer { status, mut body, has_login } = answered;
    if !state.access.shows_alerts(has_login, &headers)
        && let Some(fields) = body.as_object_mut()
    {
        fields.remove("alerts");
        fields.remove("reason");
    }
    (status, Json(body))
}

fn not_ready(why: &str) -> Answer {
    let body = json!({ "ready": false, "reason": why });
    Answer { status: StatusCode::SERVICE_UNAVAILABLE, body, has_login: true }
}

impl Health {
    /// Returns a check that uses these connections.
    pub fn new(db: PgPool) -> Self {
        Self { db, last: Arc::default() }
    }

    async fn answer(&self) -> Answer {
        let mut last = self.last.lock().await;
        if let Some((_, answer)) = last.as_ref().filter(|(at, _)| at.elapsed() < FRESH) {
            return answer.clone();
        }
        let answer = match self.check().await {
            Ok((true, alerts, has_login)) => {
                Answer { status: StatusCode::OK, body: json!({ "ready": true, "alerts": alerts }), has_login }
            }
            Ok((false, ..)) => not_ready("Postgres does not have all migrations of this version yet"),
            Err(error) => {
                warn!("not ready: {error}");
                not_ready("Postgres is not reachable or has no schema yet")
            }
        };
        *last = Some((Instant::now(), answer.clone()));
        answer
    }

    async fn check(&self) -> sqlx::Result<(bool, Vec<Value>, bool)> {
        let applied: Vec<i64> =
            sqlx::query_scalar("select version from _sqlx_migrations where success").fetch_all(&self.db).await?;
        let alerts = alerts::all(&self.db).await?;
        let migrated = MIGRATOR.iter().all(|migration| applied.contains(&migration.version));
        let has_login = !migrated || persons::logins(&self.db).await?.any();
        let alerts = alerts.into_iter().map(|t| json!({ "component": t.component, "message": t.message })).collect();
        Ok((migrated, alerts, has_login))
    }
}
