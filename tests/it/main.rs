//! The whole service from the outside: real Postgres, real Docker, real git over HTTP; only GitHub is a stand-in. And
//! the commands, as people type them.
#![allow(missing_docs, reason = "tests say what they are by their names")]
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is for")]

#[path = "../support/mod.rs"]
mod support;

mod artifacts;
mod bases;
mod browser;
mod cache;
mod cancel;
mod checkout;
mod condition;
mod crash;
mod deploy;
mod disk;
mod doctor;
mod gpu_leases;
mod gpus;
mod import;
mod hostile;
mod inspect;
mod isolation;
mod limits;
mod lint;
mod mock;
mod objects;
mod pages;
mod payloads;
mod plan_command;
mod pool;
mod push;
mod queue;
mod remote;
mod resources;
mod retention;
mod run_command;
mod secrets;
mod services;
mod smoke;
mod start;
mod statuses;
mod superseded;
mod work;
