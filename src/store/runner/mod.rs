//! The runners, their GPUs, and the lock by which one process serves each runner.

pub mod gpus;
pub mod runner_lock;
pub mod runners;
