//! Requirements that a job has of a runner beyond a slot.

use serde::{Deserialize, Serialize};

/// The life cycle of a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "sqlx", derive(sqlx::Type), sqlx(type_name = "gpu_state", rename_all = "snake_case"))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum GpuState {
    /// Seen empty and not assigned to a job.
    Free,
    /// Assigned to a running job.
    Held,
    /// Not assigned to a job again until it is seen empty.
    Quarantined,
}

/// GPUs that a job requests. The job gets all of them from one runner, or waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuRequest {
    pub count: i32,
    /// Minimum memory of each GPU, in bytes.
    pub memory: i64,
    /// The required class; `None` means any class.
    pub class: Option<String>,
}

/// Requirements of a job on its runner.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Requirements {
    pub gpus: Option<GpuRequest>,
    /// Labels that the runner must have.
    pub labels: Vec<String>,
    /// True when the job can be preempted: it releases its GPUs to a job that waits for them, and begins again later.
    pub preemptible: bool,
}
