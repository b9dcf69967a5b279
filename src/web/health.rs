//! Health checks for supervisors and load balancers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract;
use axum::http::StatusCode;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::sync::Mutex;
use tracing::warn;

use super::State;
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

type Answer = (StatusCode, Value);

/// `GET /healthz`: answers as long as the process is up.
pub(super) async fn alive() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: ready when Postgres is reachable and has the schema of this version. Also lists the alerts.
pub(super) async fn ready(extract::State(state): extract::State<State>) -> (StatusCode, Json<Value>) {
    let (status, body) = match tokio::time::timeout(LIMIT, state.health.answer()).await {
        Ok(answer) => answer,
        Err(_) => {
            warn!("not ready: Postgres did not answer within {}", humantime::format_duration(LIMIT));
            not_ready("Postgres does not answer in time")
        }
    };
    (status, Json(body))
}

fn not_ready(why: &str) -> Answer {
    (StatusCode::SERVICE_UNAVAILABLE, json!({ "ready": false, "reason": why }))
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
            Ok((true, alerts)) => (StatusCode::OK, json!({ "ready": true, "alerts": alerts })),
            Ok((false, _)) => not_ready("Postgres does not have all migrations of this version yet"),
            Err(error) => {
                warn!("not ready: {error}");
                not_ready("Postgres is not reachable or has no schema yet")
            }
        };
        *last = Some((Instant::now(), answer.clone()));
        answer
    }

    async fn check(&self) -> sqlx::Result<(bool, Vec<Value>)> {
        let applied: Vec<i64> =
            sqlx::query_scalar("select version from _sqlx_migrations where success").fetch_all(&self.db).await?;
        let alerts = alerts::all(&self.db).await?;
        let migrated = MIGRATOR.iter().all(|migration| applied.contains(&migration.version));
        let alerts = alerts.into_iter().map(|t| json!({ "component": t.component, "message": t.message })).collect();
        Ok((migrated, alerts))
    }
}
