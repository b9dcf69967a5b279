//! What a job is and how it ends.

use serde::{Deserialize, Serialize};

/// What a job does in its container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, sqlx::Type)]
#[sqlx(type_name = "job_kind", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// A job of `.travis.yml`'s matrix.
    Script,
    /// A few steps of a training on CPU, with a mock model and dummy data.
    Smoke,
    /// A whole training with real data.
    Train,
}

/// Where a job is on its way. It only moves forward, but for `Running` → `Queued` when its worker was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, sqlx::Type)]
#[sqlx(type_name = "job_state", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// An earlier stage of its build is not finished.
    Waiting,
    /// Free to be claimed.
    Queued,
    /// A worker holds its lease.
    Running,
    /// It has a verdict, which never changes.
    Finished,
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, sqlx::Type)]
#[sqlx(type_name = "verdict", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything that was asked for happened.
    Passed,
    /// The job's own work says no: the author has something to mend.
    Failed,
    /// The job could not do its work: a set-up step, the image, the machine.
    Errored,
    /// Somebody, or a newer push, did not want it any more.
    Canceled,
    /// It broke its bound on wall time or on time without output.
    TimedOut,
}

impl Verdict {
    /// The verdict of a script by its exit status, as Travis maps it: 0 passed, 1 failed, anything else errored.
    pub fn of_exit_status(status: i64) -> Self {
        match status {
            0 => Self::Passed,
            1 => Self::Failed,
            _ => Self::Errored,
        }
    }
}

/// Why Trainyard itself ended a running container. Kept in the job's row, so that a restart in the middle of the
/// stop still gives the right verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, sqlx::Type)]
#[sqlx(type_name = "stop", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// Cancel was asked for.
    Canceled,
    /// The wall-time limit passed.
    WallTime,
    /// No output came for too long.
    Silence,
    /// The log grew beyond its limit.
    LogSize,
    /// It wrote more into its file system than its limit.
    Disk,
    /// A job that waited wants its GPUs: it begins again later.
    Preempted,
}

impl Stop {
    /// The verdict of a job that was ended for this reason.
    pub fn verdict(self) -> Verdict {
        match self {
            // One that gives way has no verdict, but if it cannot begin again.
            Self::Canceled | Self::Preempted => Verdict::Canceled,
            Self::WallTime | Self::Silence => Verdict::TimedOut,
            Self::LogSize | Self::Disk => Verdict::Errored,
        }
    }
}
