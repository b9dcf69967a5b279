//! Smoke jobs and whole trainings.

mod compared;
mod gpu;
mod resumed;
mod forecast;
mod progress;
mod smoke;
mod trackers;
mod train;
