//! Jobs.

use axum::Json;
use axum::extract;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::described::{BuildAnswer, JobAnswer};
use crate::domain::Verdict;
use crate::store::output::{log_objects, reports};
use crate::store::queue::{self, EarlierRun, LostAttempt};
use crate::web::State;
use crate::web::access::OfJob;
use crate::web::error::InJson;
use crate::web::rows;

/// A job with its build, its earlier attempts, and the report of its training.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct WholeJob {
    #[serde(flatten)]
    job: JobAnswer,
    build: BuildAnswer,
    /// Place of a queued job in its line, from 1; null for any other job, and behind the first 500 jobs.
    place: Option<i64>,
    /// Time at which a queued job will begin, by the last runs of the jobs before it; null if that cannot be foreseen.
    estimated_start: Option<DateTime<Utc>>,
    /// Attempts before the latest one, in the order of their ends.
    earlier_attempts: Vec<EarlierAttempt>,
    /// Reason why the log of the latest attempt was removed.
    log_removed: Option<String>,
    /// Conditions, weights and metrics of a training that has ended.
    #[schema(value_type = Option<Object>)]
    training: Option<Value>,
}

/// An attempt that another one has followed.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct EarlierAttempt {
    /// Number of the attempt; null if the job was restarted before it had begun.
    attempt: Option<i32>,
    /// Null for an attempt that was lost.
    verdict: Option<Verdict>,
    reason: Option<String>,
    runner: Option<String>,
    started_at: Option<DateTime<Utc>>,
    ended_at: DateTime<Utc>,
    /// Number of bytes of its log.
    log_length: i64,
    /// Name of the person who asked for the restart; null if the job began again by itself.
    restarted_by: Option<String>,
}

impl From<LostAttempt> for EarlierAttempt {
    fn from(lost: LostAttempt) -> Self {
        let LostAttempt { attempt, runner, started_at, ended_at, reason, log_length } = lost;
        Self {
            attempt: Some(attempt),
            verdict: None,
            reason: Some(reason),
            runner,
            started_at,
            ended_at,
            log_length,
            restarted_by: None,
        }
    }
}

impl From<EarlierRun> for EarlierAttempt {
    fn from(run: EarlierRun) -> Self {
        let EarlierRun { attempt, verdict, reason, runner, finished_at, log_length, requested_by, .. } = run;
        Self {
            attempt,
            verdict: Some(verdict),
            reason,
            runner,
            started_at: None,
            ended_at: finished_at,
            log_length,
            restarted_by: Some(requested_by),
        }
    }
}

/// Returns a job with its build and its earlier attempts.
#[utoipa::path(get, path = "/api/v1/jobs/{id}", operation_id = "getJob", tag = "Jobs",
    responses((status = 200, description = "The job", body = WholeJob)))]
pub(in crate::web) async fn one(
    extract::State(state): extract::State<State>,
    OfJob(id): OfJob,
) -> Result<Json<WholeJob>, InJson> {
    let (build, job) = rows::build_and_job(&state.db, id).await?;
    let lost = queue::lost_attempts(&state.db, id).await?.into_iter().map(EarlierAttempt::from);
    let earlier = queue::earlier_runs(&state.db, id).await?.into_iter().map(EarlierAttempt::from);
    let mut earlier_attempts: Vec<EarlierAttempt> = lost.chain(earlier).collect();
    earlier_attempts.sort_by_key(|attempt| attempt.ended_at);
    let log_removed = log_objects::removed(&state.db, job.attempt_id()).await?;
    let training = reports::training(&state.db, id).await?;
    let line = rows::in_line(&state, &job).await?;
    let job = JobAnswer::new(&state, &build, job);
    Ok(Json(WholeJob {
        job,
        build: BuildAnswer::new(&state, build),
        place: line.as_ref().map(|line| line.place),
        estimated_start: line.and_then(|line| line.begins_at(Utc::now())),
        earlier_attempts,
        log_removed,
        training,
    }))
}
