//! Trainyard: a self-hosted CI service for teams that train LoRA models.
//!
//! # Layout
//!
//! Modules stand in the order of their layers, lowest first; a module names only modules above it in this list
//! (`tests/layers.rs` checks that). A good order to read them in is the way of the data: `web::webhook`, `intake`,
//! `plan`, `store::jobs`, `worker`, `executor`, `outbox`.

pub mod domain;
pub mod lora;
pub mod plan;
pub mod travis;
pub mod yaml;
