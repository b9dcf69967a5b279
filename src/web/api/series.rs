//! The series of a job: losses from its stored log, and resource usage from rows.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract;
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{JobState, Resources};
use crate::lora::series::{Series, Trend, trend};
use crate::store::output::reports;
use crate::web::State;
use crate::web::access::OfJob;
use crate::web::error::{Error, InJson};
use crate::web::log_stream::{Earlier, Reading, Whole};
use crate::web::rows::job_facts;

/// The losses of a job, with their trend. Those of the attempts with whose training the latest one goes on are among them.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct Losses {
    #[serde(flatten)]
    series: Series,
    trend: Trend,
    /// Steps at which attempts went on from a checkpoint.
    resumed_at: Vec<u64>,
}

/// Resources that a job used.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct ResourceUse {
    /// Sums; null for a job that has not ended, or that ended before a sample was taken.
    used: Option<Resources>,
    /// Values over time, by resource: `cpu`, `memory`, `disk_read`, `disk_write`, `network_in`, `network_out`, and for a
    /// job with GPUs `gpu` and `gpu_memory`.
    series: BTreeMap<&'static str, ResourceSeries>,
}

/// Values of a resource over time.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct ResourceSeries {
    /// Unit of the values.
    unit: &'static str,
    /// Times since the start of the job.
    milliseconds: Vec<u64>,
    values: Vec<f64>,
}

/// Returns the losses of a job, with their trend in a word.
#[utoipa::path(get, path = "/api/v1/jobs/{id}/series", operation_id = "getLosses", tag = "Jobs",
    responses((status = 200, description = "The losses", body = Losses)))]
pub(in crate::web) async fn losses(
    extract::State(state): extract::State<State>,
    OfJob(job): OfJob,
) -> Result<Json<Losses>, InJson> {
    let facts = job_facts(&state.db, job).await?;
    let reading = Reading::new(&state, facts.attempt_of(job));
    let mut losses = reading.losses(facts.log_length.unsigned_abs()).await.map_err(Error::from)?;
    if facts.state == JobState::Finished {
        losses.finish();
    }
    let earlier = Earlier::read(&state, facts.attempt_of(job)).await.map_err(Error::from)?;
    let Whole { series, resumed } = earlier.with(losses.series());
    Ok(Json(Losses { trend: trend(&series), series, resumed_at: resumed }))
}

/// Returns the resources that a job used, in sums and over time, once it has ended.
#[utoipa::path(get, path = "/api/v1/jobs/{id}/resources", operation_id = "getResources", tag = "Jobs",
    responses((status = 200, description = "The resources", body = ResourceUse)))]
pub(in crate::web) async fn resources(
    extract::State(state): extract::State<State>,
    OfJob(job): OfJob,
) -> Result<Json<ResourceUse>, InJson> {
    job_facts(&state.db, job).await?;
    let used = reports::resources(&state.db, job).await.map_err(Error::from)?;
    let mut series = BTreeMap::new();
    for (resource, times) in used.iter().flat_map(|used| &used.series) {
        let (milliseconds, values) = times.iter().copied().unzip();
        series.insert(resource.name(), ResourceSeries { unit: resource.unit(), milliseconds, values });
    }
    Ok(Json(ResourceUse { used, series }))
}
