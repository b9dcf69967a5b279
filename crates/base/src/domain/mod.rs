//! Trainyard's vocabulary as types: no IO, no wire formats, no clock.
//!
//! There are two exceptions. `derive(sqlx::Type)`, behind the feature `sqlx`: a word has one spelling in Rust and in SQL.
//! `derive(utoipa::ToSchema)`, behind the feature `openapi`: the JSON API is described from the types that it answers with.

mod bounded;
mod build;
mod checkout;
mod config_change;
mod gpu;
mod ids;
mod job;
mod pg_text;
mod problem;
mod request;
mod resources;
mod right;
mod status;
mod token;
mod trigger;

pub use bounded::bounded;
pub use build::{BuildState, JobSummary, roll_up};
pub use checkout::{Checkout, Revision};
pub use config_change::ConfigChange;
pub use gpu::{GpuRequest, GpuState, Requirements};
pub use ids::{AttemptId, BuildId, DeliveryId, InvalidName, JobId, PersonId, RepoId, RepoName, Sha};
pub use job::{JobKind, JobState, PHASES, Stop, Verdict};
pub use pg_text::pg_text;
pub use problem::{Fix, Problem, Rule, Severity, only_near};
pub use request::{BuildRequest, Command, CronInterval, FoundPull, MERGE_MODES, RequestConfig, Scope, TrainingRequest};
pub use resources::{GpuUse, Record, Resource, Resources, Times, Usage};
pub use right::Right;
pub use status::{CommitState, JobOutcome, Status, in_words, roughly};
pub use token::{TOKEN_FORMATS, TokenFormat, tokens};
pub use trigger::{Priority, PullRequest, TravisBuild, Trigger, TriggerKind};
