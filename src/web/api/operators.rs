//! The record of changes, and the alerts.

use axum::Json;
use axum::extract;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::store::alerts::{self, Alert};
use crate::store::people::audit::{self, Entry};
use crate::web::State;
use crate::web::error::InJson;
use crate::web::paging::{Paged, Paging};
use crate::web::query::Query;

/// Entries of the record of changes and logins, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct AuditList {
    entries: Vec<Entry>,
    /// The `before` of the next page; null on the last page.
    next: Option<i64>,
}

/// Problems of the installation that last.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct AlertList {
    alerts: Vec<Alert>,
}

/// Query parameters of the record.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::web) struct Wanted {
    /// Number of entries, from 1 to 100. 25 if it is missing.
    limit: Option<i64>,
    /// Only entries with smaller ids: the `next` of the page before.
    before: Option<i64>,
}

/// Lists what people changed, and their logins.
#[utoipa::path(get, path = "/api/v1/audit", operation_id = "listAudit", tag = "Operators", params(Wanted),
    responses((status = 200, description = "A page of the record", body = AuditList)))]
pub(in crate::web) async fn audit(
    extract::State(state): extract::State<State>,
    paging: Paging,
    Query(wanted): Query<Wanted>,
) -> Result<Paged<AuditList>, InJson> {
    let limit = Paging::limit(wanted.limit);
    let mut entries = audit::list(&state.db, wanted.before, limit + 1).await?;
    let next = Paging::cut(&mut entries, limit, |entry| entry.id);
    Ok(paging.answer(AuditList { entries, next }, next.map(|key| key.to_string())))
}

/// Lists the problems of the installation that last, as pages show them to operators.
#[utoipa::path(get, path = "/api/v1/alerts", operation_id = "listAlerts", tag = "Operators",
    responses((status = 200, description = "The alerts", body = AlertList)))]
pub(in crate::web) async fn alerts(extract::State(state): extract::State<State>) -> Result<Json<AlertList>, InJson> {
    Ok(Json(AlertList { alerts: alerts::all(&state.db).await? }))
}
