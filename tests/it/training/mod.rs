//! Smoke jobs and whole trainings.

mod progress;
mod smoke;
mod train;
