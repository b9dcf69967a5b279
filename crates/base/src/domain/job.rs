//! Kinds, states and verdicts of a job.

use serde::{Deserialize, Serialize};

/// The work that a job does in its container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "sqlx", derive(sqlx::Type), sqlx(type_name = "job_kind", rename_all = "snake_case"))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// A job of `.travis.yml`'s matrix.
    Script,
    /// A few steps of a training on CPU, with a mock model and dummy data.
    Smoke,
    /// A whole training with real data.
    Train,
}

/// State of a job. It only moves forward, except for `Running` → `Queued`, for example when its runner was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "sqlx", derive(sqlx::Type), sqlx(type_name = "job_state", rename_all = "snake_case"))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// An earlier stage of its build is not finished.
    Waiting,
    /// Ready to be claimed.
    Queued,
    /// A worker holds its lease.
    Running,
    /// The job has a verdict, which never changes.
    Finished,
}

/// The result of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "sqlx", derive(sqlx::Type), sqlx(type_name = "verdict", rename_all = "snake_case"))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All requested work succeeded.
    Passed,
    /// The job's own work failed: the author has something to fix.
    Failed,
    /// The job could not do its work because of a set-up step, the image or the machine.
    Errored,
    /// A person or a newer push canceled the job.
    Canceled,
    /// The job exceeded its limit on wall time or on time without output.
    TimedOut,
}

impl Verdict {
    /// Maps the exit status of a script to a verdict as Travis does: 0 passed, 1 failed, anything else errored.
    pub fn of_exit_status(status: i64) -> Self {
        match status {
            0 => Self::Passed,
            1 => Self::Failed,
            _ => Self::Errored,
        }
    }
}

/// The reason why Trainyard itself stopped a running container. It is kept in the job's row, so that a restart in the
/// middle of the stop still gives the right verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "sqlx", derive(sqlx::Type), sqlx(type_name = "stop", rename_all = "snake_case"))]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// Cancellation was requested.
    Canceled,
    /// The job reached its wall-time limit.
    WallTime,
    /// The job wrote no output for too long.
    Silence,
    /// The log exceeded its size limit.
    LogSize,
    /// The job wrote more into its file system than its limit allows.
    Disk,
    /// A waiting job needs the GPUs of this job, which begins again later.
    Preempted,
}

impl Stop {
    /// Returns the verdict of a job that was stopped for this reason.
    pub fn verdict(self) -> Verdict {
        match self {
            // A preempted job has no verdict, unless it cannot begin again.
            Self::Canceled | Self::Preempted => Verdict::Canceled,
            Self::WallTime | Self::Silence => Verdict::TimedOut,
            Self::LogSize | Self::Disk => Verdict::Errored,
        }
    }
}

/// The phases of a job whose lines are commands, by their keys in a `.travis.yml`.
pub const PHASES: [&str; 10] = [
    "before_install",
    "install",
    "before_script",
    "script",
    "before_cache",
    "after_success",
    "after_failure",
    "before_deploy",
    "after_deploy",
    "after_script",
];
