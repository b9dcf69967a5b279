//! Runners.

use axum::Json;
use axum::extract;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::GpuState;
use crate::web::State;
use crate::web::access::View;
use crate::web::error::InJson;
use crate::web::pages::runners::{self, GpuRow, Runner};

/// State of a runner.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::web) enum RunnerState {
    Ready,
    /// The engine does not answer.
    Unreachable,
    /// The worker has given no sign of life for a minute.
    Away,
}

/// A runner.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Runner)]
pub(in crate::web) struct RunnerAnswer {
    name: String,
    state: RunnerState,
    /// Number of jobs that it runs at once.
    slots: i32,
    /// Number of jobs that it runs now.
    running: i64,
    labels: Vec<String>,
    /// Address of its Docker engine.
    endpoint: String,
    /// Machine of its worker.
    host: Option<String>,
    seen_at: DateTime<Utc>,
    /// Problem that lasts.
    alert: Option<String>,
    gpus: Vec<Gpu>,
}

/// A GPU of a runner.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct Gpu {
    uuid: String,
    name: String,
    /// Name by which jobs ask for it.
    class: String,
    /// Bytes; 0 if it is not known.
    memory: i64,
    state: GpuState,
    reason: Option<String>,
    /// Time since which it has this state.
    since: DateTime<Utc>,
    /// Job that holds it, if you may read its repository.
    job: Option<Holder>,
}

/// A job that holds a GPU.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct Holder {
    /// Repository, as `owner/name`.
    repo: String,
    /// Numbers of the build and of the job in it, as `12.1`.
    job: String,
    url: String,
}

/// All runners, by name.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct RunnerList {
    runners: Vec<RunnerAnswer>,
}

/// Lists the runners with their slots and GPUs.
#[utoipa::path(get, path = "/api/v1/runners", operation_id = "listRunners", tag = "Queue and runners",
    responses((status = 200, description = "The runners", body = RunnerList)))]
pub(in crate::web) async fn list(
    extract::State(state): extract::State<State>,
    view: View,
) -> Result<Json<RunnerList>, InJson> {
    let runners = runners::runners(&state.db, &view.sight().await?).await?;
    Ok(Json(RunnerList { runners: runners.into_iter().map(|runner| described(&state, runner)).collect() }))
}

fn described(state: &State, runner: Runner) -> RunnerAnswer {
    let runner_state = match (runner.is_away(), &runner.row.alert) {
        (true, _) => RunnerState::Away,
        (false, Some(_)) => RunnerState::Unreachable,
        (false, None) => RunnerState::Ready,
    };
    let Runner { row, gpus } = runner;
    RunnerAnswer {
        name: row.name,
        state: runner_state,
        slots: row.slots,
        running: row.running,
        labels: row.labels,
        endpoint: row.endpoint,
        host: row.host,
        seen_at: row.seen_at,
        alert: row.alert,
        gpus: gpus.into_iter().map(|gpu| described_gpu(state, gpu)).collect(),
    }
}

fn described_gpu(state: &State, gpu: GpuRow) -> Gpu {
    let GpuRow { uuid, name, class, memory, state: gpu_state, reason, since, holder, .. } = gpu;
    let job = holder.link().map(|(path, _)| Holder {
        repo: [holder.owner, holder.repo].into_iter().flatten().collect::<Vec<_>>().join("/"),
        job: [holder.build, holder.job]
            .into_iter()
            .flatten()
            .map(|number| number.to_string())
            .collect::<Vec<_>>()
            .join("."),
        url: state.public(&path),
    });
    Gpu { uuid, name, class, memory, state: gpu_state, reason, since, job }
}
