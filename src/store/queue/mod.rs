//! The queue: jobs, their leases and their ends. No other code changes a job's state.
//!
//! ```text
//! insert → waiting ─start_next_stage, approve→ queued ─claim→ running ─finish→ finished
//!                                                 ▲              │ ╰─beat/adopt (lease)
//!                                                 ├─requeue/rescue (if it may begin again; else finished as errored)
//!                                                 ├──preempt (by a job that waits for its GPUs)
//!                                                 ╰──restart (of a job that has ended, by a person; its end stays in a row)
//! ```
//!
//! `attempt` is the fence: each claim increments it, and each write names the attempt that makes it. A worker that lost
//! its lease cannot change any row. Each change of a job's state rolls the build up in the same transaction (`rollup`).

mod approval;
mod cancel;
mod estimates;
mod insert;
mod jobs;
mod lines;
mod lost;
mod progress;
mod requirements;
mod restart;
pub mod rollup;
pub mod superseded;
mod turn;

pub use approval::{approve, cancel_unapproved};
pub use cancel::{cancel, cancel_build, cancel_running_of};
pub use estimates::estimates;
pub use insert::NewJob;
pub(super) use insert::{Origin, insert};
pub use jobs::{
    Beat, Claimed, Finish, adopt, beat, claim, claim_limited, finish, log_length, record_stop, record_warning,
    running_of,
};
pub use lines::{InLine, lines};
pub use lost::{
    Lease, LogEnd, LostAttempt, MAX_ATTEMPTS, leases, lost_attempts, preempt, requeue, rescue, run_only_once,
};
pub use progress::{Place, Progress, progress_of, record_progress};
pub use requirements::{claim_with_requirements, mark_preemptions, update_wait_reasons};
pub use restart::{EarlierRun, MAX_RESTARTS, RestartError, earlier_log_length, earlier_runs, restart, restart_failed};
pub use rollup::tell_progress;
pub use turn::{QueueConfig, QueuedJob, order};
