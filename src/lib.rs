//! Trainyard: a self-hosted CI service for teams that train LoRA models.
//!
//! # Layout
//!
//! Modules stand in the order of their layers, lowest first; a module names only modules before it in this list
//! (`tests/layers` checks that). A good order to read them in is the way of the data: `web::webhook`, `intake`,
//! `plan`, `store::queue`, `worker`, `executor`, `outbox`.

// Pure, in crates of their own (`crates/`): bytes and values in, values out; no clock, no database, no network. `domain`
// is what things are called.
pub use trainyard_base::{domain, log_view, yaml};
pub use trainyard_lora as lora;
pub use trainyard_travis::{gpu, plan, travis};

pub mod telemetry;
pub mod repo_keys;
// The outside world, one kind of it each.
pub mod store;
pub mod storage;
pub mod git;
pub mod github;
pub mod executor;
// One try at a job.
pub mod attempt;
// Steps: each reads rows, does one thing, writes rows.
pub mod intake;
pub mod worker;
pub mod outbox;
pub mod janitor;
// Composition.
pub mod web;
pub mod config;
pub mod app;
pub mod cli;
