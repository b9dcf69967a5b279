//! The runners, their GPUs, and the lock that lets only one process serve each runner.

pub mod budgets;
pub mod gpus;
pub mod runner_lock;
pub mod runners;
