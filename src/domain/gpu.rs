//! What a job needs of a runner beside a slot.

use serde::{Deserialize, Serialize};

/// Where a GPU is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, sqlx::Type)]
#[sqlx(type_name = "gpu_state", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum GpuState {
    /// Seen empty, and no job's.
    Free,
    /// A running job's.
    Held,
    /// Not to be given to a job until it is seen empty.
    Quarantined,
}

/// GPUs that a job asks for. It gets all of them, from one runner, or waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuWish {
    /// How many.
    pub count: i32,
    /// Bytes of memory that each has at least.
    pub memory: i64,
    /// Their class; none when any will do.
    pub class: Option<String>,
}

/// What a job needs of its runner.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Needs {
    /// GPUs.
    pub gpus: Option<GpuWish>,
    /// Labels that the runner must have.
    pub labels: Vec<String>,
    /// Whether it gives its GPUs to a job that waits for them, and begins again later.
    pub preemptible: bool,
}
