//! Trainyard's vocabulary as types: no IO, no wire formats, no clock.
//!
//! The one exception is `derive(sqlx::Type)`, behind the feature `sqlx`: a word has one spelling in Rust and in SQL.

mod bounded;
mod build;
mod checkout;
mod config_change;
mod fix;
mod gpu;
mod ids;
mod job;
mod near;
mod pg_text;
mod problem;
mod request;
mod resources;
mod rule;
mod status;
mod token;
mod trigger;

pub use bounded::bounded;
pub use build::{BuildState, JobSummary, roll_up};
pub use checkout::{Checkout, Revision};
pub use config_change::ConfigChange;
pub use fix::Fix;
pub use gpu::{GpuRequest, GpuState, Requirements};
pub use ids::{AttemptId, BuildId, DeliveryId, InvalidName, JobId, RepoId, RepoName, Sha};
pub use job::{JobKind, JobState, Stop, Verdict};
pub use near::only_near;
pub use pg_text::pg_text;
pub use problem::{Problem, Severity};
pub use request::{BuildRequest, CronInterval, MERGE_MODES, RequestConfig};
pub use resources::{GpuUse, Record, Resource, Resources, Times, Usage};
pub use rule::Rule;
pub use status::{CommitState, JobOutcome, Status, in_words};
pub use token::{TOKEN_FORMATS, TokenFormat, tokens};
pub use trigger::{Priority, PullRequest, TravisBuild, Trigger, TriggerKind};
