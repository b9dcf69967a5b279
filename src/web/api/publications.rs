//! The publications of a job.

use axum::Json;
use axum::extract;
use serde::Serialize;
use utoipa::ToSchema;

use crate::store::publications::{self, Publication};
use crate::web::State;
use crate::web::access::OfJob;
use crate::web::error::InJson;

/// The publications of a job, one for each place.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct Publications {
    publications: Vec<Publication>,
}

/// Returns the publications of a job with their states.
///
/// A job has none before it has passed.
#[utoipa::path(get, path = "/api/v1/jobs/{id}/publications", operation_id = "getJobPublications", tag = "Jobs",
    responses((status = 200, description = "The publications", body = Publications)))]
pub(in crate::web) async fn of_job(
    extract::State(state): extract::State<State>,
    OfJob(id): OfJob,
) -> Result<Json<Publications>, InJson> {
    Ok(Json(Publications { publications: publications::of(&state.db, id).await? }))
}
