//! Budgets of GPU hours, as far as they are used.

use axum::Json;
use axum::extract;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::store::runner::budgets::BudgetUse;
use crate::web::State;
use crate::web::access::View;
use crate::web::error::InJson;
use crate::web::pages::runners;

/// Owner of a budget.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::web) enum BudgetOf {
    Repository,
    Person,
}

/// A budget of GPU hours in its present period.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct Budget {
    of: BudgetOf,
    /// Repository, as `owner/name`, or login of the person.
    name: String,
    gpu_hours: f64,
    /// `day`, `week` or `month`, in UTC.
    per: String,
    /// Hours that were used in the present period.
    used: f64,
    left: f64,
    /// True while further jobs with GPUs are held.
    is_used_up: bool,
    /// Time at which the budget begins anew.
    until: DateTime<Utc>,
}

/// Budgets of which something is used: of the repositories that you may read, and your own. Operators see those of all
/// people.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct BudgetList {
    budgets: Vec<Budget>,
}

/// Lists the budgets of GPU hours of which something is used.
#[utoipa::path(get, path = "/api/v1/budgets", operation_id = "listBudgets", tag = "Queue and runners",
    responses((status = 200, description = "The budgets", body = BudgetList)))]
pub(in crate::web) async fn list(
    extract::State(state): extract::State<State>,
    view: View,
) -> Result<Json<BudgetList>, InJson> {
    let sight = view.sight().await?;
    let budgets = runners::budgets(&state.db, &view, &sight).await?;
    Ok(Json(BudgetList { budgets: budgets.into_iter().map(Budget::from).collect() }))
}

impl From<BudgetUse> for Budget {
    fn from(used: BudgetUse) -> Self {
        let (left, is_used_up) = (used.left(), used.is_used_up());
        let BudgetUse { repo, name, gpu_hours, per, used, until } = used;
        let of = if repo.is_some() { BudgetOf::Repository } else { BudgetOf::Person };
        Self { of, name, gpu_hours, per: per.to_string(), used, left, is_used_up, until }
    }
}
