//! The queue: the jobs that wait for a runner.

use std::collections::HashMap;

use axum::Json;
use axum::extract;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use utoipa::{IntoParams, ToSchema};

use crate::domain::{JobId, JobState};
use crate::store::queue::{self, InLine};
use crate::web::State;
use crate::web::access::{Sight, View};
use crate::web::error::InJson;
use crate::web::paging::Paging;
use crate::web::query::Query;

/// A job that waits for a runner.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct QueuedJob {
    id: JobId,
    /// Repository, as `owner/name`.
    repo: String,
    /// Number of the build.
    build: i32,
    /// Numbers of the build and of the job in it, as `12.1`.
    job: String,
    name: Option<String>,
    state: JobState,
    queued_at: DateTime<Utc>,
    /// Place in its line, from 1. Jobs of repositories that you may not read count, too.
    place: i64,
    /// Number of GPUs that it needs.
    gpus: i32,
    /// Reason why it waits, if it waits for more than a slot.
    wait_reason: Option<String>,
    /// True while its repository, or all forks together, have as many running jobs as they may, or while a budget of GPU
    /// hours is used up.
    is_held: bool,
    /// Time at which it will begin, by the last runs of the jobs before it; null if that cannot be foreseen.
    estimated_start: Option<DateTime<Utc>>,
    /// Address of the job's page.
    url: String,
}

/// Jobs that wait for a runner, in the order in which they will be taken as far as that is known. There are two lines:
/// that of jobs with requirements, such as GPUs or labels, which runners look at first, and that of all others.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct Queue {
    jobs: Vec<QueuedJob>,
}

/// Query parameters of the queue.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::web) struct Wanted {
    /// Number of jobs of each line, from 1 to 100. 25 if it is missing.
    limit: Option<i64>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: JobId,
    owner: String,
    repo: String,
    build: i32,
    number: i32,
    name: Option<String>,
    state: JobState,
    created_at: DateTime<Utc>,
    gpus: i32,
    wait_reason: Option<String>,
}

/// Lists the jobs that wait for a runner.
#[utoipa::path(get, path = "/api/v1/queue", operation_id = "getQueue", tag = "Queue and runners", params(Wanted),
    responses((status = 200, description = "The queue", body = Queue)))]
pub(in crate::web) async fn show(
    extract::State(state): extract::State<State>,
    view: View,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Queue>, InJson> {
    let sight = view.sight().await?;
    let limit = Paging::limit(wanted.limit);
    let lines = queue::lines(&state.db, &state.queue, limit).await?;
    let ids: Vec<JobId> = lines.iter().map(|job| job.id).collect();
    let mut rows = in_sight(&state.db, &sight, &ids).await?;
    let now = Utc::now();
    let job = |job: InLine| Some(described(&state, rows.remove(&job.id)?, &job, now));
    Ok(Json(Queue { jobs: lines.into_iter().filter_map(job).collect() }))
}

async fn in_sight(db: &PgPool, sight: &Sight, ids: &[JobId]) -> sqlx::Result<HashMap<JobId, Row>> {
    let rows: Vec<Row> = sqlx::query_as(
        "select job.id, owner, repo.name as repo, build.number as build, job.number, job.name, job.state, job.created_at,
             gpu_count as gpus, wait_reason
         from job join build on build.id = build_id join repo on repo.id = build.repo_id
         where job.id = any($1) and ($2 or not private or repo.id = any($3))",
    )
    .bind(ids)
    .bind(sight.everything)
    .bind(&sight.repos)
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, row)).collect())
}

fn described(state: &State, row: Row, line: &InLine, now: DateTime<Utc>) -> QueuedJob {
    let Row { id, owner, repo, build, number, name, state: job_state, created_at, gpus, wait_reason } = row;
    QueuedJob {
        id,
        url: state.public(&format!("/{owner}/{repo}/builds/{build}/jobs/{number}")),
        repo: format!("{owner}/{repo}"),
        build,
        job: format!("{build}.{number}"),
        name,
        state: job_state,
        queued_at: created_at,
        place: line.place,
        gpus,
        wait_reason,
        is_held: line.is_held,
        estimated_start: line.begins_at(now),
    }
}
