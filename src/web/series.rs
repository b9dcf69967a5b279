//! The series of a job: losses from its stored log, and resource usage from rows.

use axum::Json;
use axum::extract::{self, Path};
use serde_json::{Map, Value, json};

use super::State;
use super::error::InJson;
use super::rows::job_facts;
use crate::domain::{AttemptId, JobId, JobState};
use crate::lora::series::{LogReader, Series, trend};
use crate::storage::Logs;
use crate::store::output::reports;

/// Number of bytes of log that are read for losses. Of a longer log, half of this is read from the start and half from
/// the end.
const MOST: i64 = 64 << 20;
/// Number of bytes of log that are read at a time.
const PIECE: usize = 256 * 1024;

/// Reads the losses of an attempt's log up to `end`.
pub(super) async fn reader(logs: &Logs, attempt: AttemptId, end: i64) -> anyhow::Result<LogReader> {
    let mut reader = LogReader::new();
    let mut offset = 0;
    while offset < end {
        let mut bytes = logs.read(attempt, offset, PIECE).await?.bytes;
        if bytes.is_empty() {
            break;
        }
        bytes.truncate(usize::try_from(end - offset)?);
        offset += i64::try_from(bytes.len())?;
        reader.feed(&bytes);
        if offset < end - MOST / 2 && offset >= MOST / 2 {
            // The line that continues there is another one.
            reader.feed(b"\n");
            offset = end - MOST / 2;
        }
    }
    Ok(reader)
}

/// Reads the series of a job from its log, as far as that is there.
pub(super) async fn of(logs: &Logs, attempt: AttemptId, log_length: i64, state: JobState) -> anyhow::Result<Series> {
    let mut reader = reader(logs, attempt, log_length).await?;
    if state == JobState::Finished {
        reader.finish();
    }
    Ok(reader.series().clone())
}

/// `GET /api/v1/jobs/{id}/series`: the losses, with their trend in a word. A value that is not a finite number is one
/// of the texts `nan`, `inf` and `-inf`.
pub(super) async fn json(
    extract::State(state): extract::State<State>,
    Path(job): Path<i64>,
) -> Result<Json<Value>, InJson> {
    let job = JobId(job);
    let facts = job_facts(&state.db, job).await?;
    let series =
        of(&state.logs, facts.attempt_of(job), facts.log_length, facts.state).await.map_err(super::Error::from)?;
    let mut value = serde_json::to_value(&series).map_err(anyhow::Error::from)?;
    value["trend"] = serde_json::to_value(trend(&series)).map_err(anyhow::Error::from)?;
    Ok(Json(value))
}

/// `GET /api/v1/jobs/{id}/resources`: the resources that a job used, in sums and over time, once it has ended. Both are
/// empty for a job that has not ended, or that ended before a sample was taken.
pub(super) async fn resources(
    extract::State(state): extract::State<State>,
    Path(job): Path<i64>,
) -> Result<Json<Value>, InJson> {
    let job = JobId(job);
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
