//! A simulation of the queue: random schedules of pushes, claims, beats, losses, cancels, restarts, stages
//! and preemptions.
//!
//! [`model`] says in plain Rust what the queue does. `pure` runs it over 100,000 random schedules and checks the
//! invariants after each step. `real` runs some schedules through the real SQL on a real Postgres as well, and compares
//! every row with the model after each step. So what holds for the model holds for the SQL.
//!
//! A failure names the seed of its schedule, and `SIMULATION_SEED=N` runs that schedule first.
#![allow(missing_docs, reason = "tests say what they are by their names")]
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is for")]

#[path = "../support/mod.rs"]
mod support;

mod gpus;
mod invariants;
mod model;
mod pure;
mod random;
mod real;
mod restarts;
mod schedule;
