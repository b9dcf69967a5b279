//! The whole service from the outside: real Postgres, real Docker, real git over HTTP; only GitHub is a stand-in. And
//! the commands, as people type them.
#![allow(missing_docs, reason = "tests say what they are by their names")]
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is for")]

#[path = "../support/mod.rs"]
mod support;

mod cli;
mod github;
mod inputs;
mod missed;
mod notifications;
mod operations;
mod pipeline;
mod publish;
mod runner;
mod storage;
mod training;
mod web;
