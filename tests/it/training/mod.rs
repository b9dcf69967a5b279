//! Smoke jobs and whole trainings.

mod smoke;
mod train;
