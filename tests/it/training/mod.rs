//! Smoke jobs and whole trainings.

mod forecast;
mod progress;
mod smoke;
mod train;
