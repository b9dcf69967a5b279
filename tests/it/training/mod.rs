//! Smoke jobs and whole trainings.

mod compared;
mod gpu;
mod resumed;
mod smoke;
mod trackers;
mod train;
