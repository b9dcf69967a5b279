//! The GitHub App: its credentials, and its registration.

mod app;
mod checks;
mod openapi;
mod setup;
