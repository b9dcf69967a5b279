//! The output of jobs: logs, log objects, reports, checkpoints and artifacts, how long each is kept, and what of it goes
//! to a tracker.

pub mod artifacts;
pub mod checkpoints;
pub mod earlier;
pub mod log_checkpoints;
pub mod log_objects;
pub mod logs;
pub mod reports;
pub mod retention;
pub mod trackings;
