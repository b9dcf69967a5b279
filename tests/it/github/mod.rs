//! The GitHub App: its credentials, and its registration.

mod app;
mod checks;
pub mod openapi;
mod setup;
