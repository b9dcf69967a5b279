//! The series of a job: losses from its stored log, and resource usage from rows.

use axum::Json;
use axum::extract;
use serde_json::{Map, Value, json};

use super::State;
use super::access::OfJob;
use super::error::InJson;
use super::log_stream::Reading;
use super::rows::job_facts;
use crate::domain::JobState;
use crate::lora::series::trend;
use crate::store::output::reports;

/// `GET /api/v1/jobs/{id}/series`: the losses, with their trend in a word. A value that is not a finite number is one
/// of the texts `nan`, `inf` and `-inf`.
pub(super) async fn json(
    extract::State(state): extract::State<State>,
    OfJob(job): OfJob,
) -> Result<Json<Value>, InJson> {
    let facts = job_facts(&state.db, job).await?;
    let reading = Reading::new(&state, facts.attempt_of(job));
    let mut losses = reading.losses(facts.log_length.unsigned_abs()).await.map_err(super::Error::from)?;
    if facts.state == JobState::Finished {
        losses.finish();
    }
    let mut value = serde_json::to_value(losses.series()).map_err(anyhow::Error::from)?;
    value["trend"] = serde_json::to_value(trend(losses.series())).map_err(anyhow::Error::from)?;
    Ok(Json(value))
}

/// `GET /api/v1/jobs/{id}/resources`: the resources that a job used, in sums and over time, once it has ended. Both are
/// empty for a job that has not ended, or that ended before a sample was taken.
pub(super) async fn resources(
    extract::State(state): extract::State<State>,
    OfJob(job): OfJob,
) -> Result<Json<Value>, InJson> {
    job_facts(&state.db, job).await?;
    let Some(used) = reports::resources(&state.db, job).await.map_err(super::Error::from)? else {
        return Ok(Json(json!({ "used": null, "series": {} })));
    };
    let series: Map<String, Value> = used
        .series
        .iter()
        .map(|(resource, times)| {
            let (milliseconds, values): (Vec<u64>, Vec<f64>) = times.iter().copied().unzip();
            let series = json!({ "unit": resource.unit(), "milliseconds": milliseconds, "values": values });
            (resource.name().to_owned(), series)
        })
        .collect();
    Ok(Json(json!({ "used": used, "series": series })))
}
