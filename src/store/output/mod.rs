//! The output of jobs: logs, log objects, reports, checkpoints and artifacts, and how long each is kept.

pub mod artifacts;
pub mod checkpoints;
pub mod log_checkpoints;
pub mod log_objects;
pub mod logs;
pub mod reports;
pub mod retention;
