//! Health checks for supervisors and load balancers.

use axum::Json;
use axum::extract;
use axum::http::StatusCode;
use serde_json::{Value, json};
use sqlx::PgPool;
use tracing::warn;

use super::State;
use crate::store::{MIGRATOR, alerts};

/// `GET /healthz`: answers as long as the process is up.
pub(super) async fn alive() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: ready when Postgres is reachable and has the schema of this version. Also lists the alerts.
pub(super) async fn ready(extract::State(state): extract::State<State>) -> (StatusCode, Json<Value>) {
    match check(&state.db).await {
        Ok((true, alerts)) => (StatusCode::OK, Json(json!({ "ready": true, "alerts": alerts }))),
        Ok((false, _)) => not_ready("Postgres does not have all migrations of this version yet"),
        Err(error) => {
            warn!("not ready: {error}");
            not_ready("Postgres is not reachable or has no schema yet")
        }
    }
}

fn not_ready(why: &str) -> (StatusCode, Json<Value>) {
    (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "ready": false, "reason": why })))
}

async fn check(db: &PgPool) -> sqlx::Result<(bool, Vec<Value>)> {
    let applied: Vec<i64> =
        sqlx::query_scalar("select version from _sqlx_migrations where success").fetch_all(db).await?;
    let alerts = alerts::all(db).await?;
    let migrated = MIGRATOR.iter().all(|migration| applied.contains(&migration.version));
    let alerts = alerts.into_iter().map(|t| json!({ "component": t.component, "message": t.message })).collect();
    Ok((migrated, alerts))
}
