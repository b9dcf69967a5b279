//! Trainyard: a self-hosted CI service for teams that train LoRA models.
//!
//! # Layout
//!
//! The modules stand in the order of their layers, lowest first: a module names only modules listed before it
//! (`tests/layers` checks that). To learn the code, follow the data: `web::webhook`, `intake`, `plan`,
//! `store::queue`, `worker`, `executor`, `outbox`.

// Pure, in crates of their own (`crates/`): bytes and values in, values out; no clock, no database, no network.
// `domain` is the vocabulary.
pub use trainyard_base::{domain, log_view, yaml};
pub use trainyard_lora as lora;
pub use trainyard_travis::{gpu, plan, travis};

pub mod telemetry;
pub mod child;
pub mod repo_keys;
pub mod passwords;
pub mod provenance;
// The outside world: one module for each part of it.
pub mod store;
pub mod storage;
pub mod git;
pub mod github;
pub mod rights;
pub mod registration;
pub mod travis_ci;
pub mod chat;
pub mod hooks;
pub mod mail;
pub mod oidc;
pub mod hub;
pub mod trackers;
pub mod permits;
pub mod executor;
pub mod outgoing;
pub mod inputs;
pub mod planner;
// A single run of a job.
pub mod attempt;
// Steps: each one reads rows, does one thing, and writes rows.
pub mod intake;
pub mod worker;
pub mod outbox;
pub mod notifier;
pub mod publisher;
pub mod recorder;
pub mod janitor;
// Composition.
pub mod web;
pub mod config;
pub mod app;
pub mod cli;
