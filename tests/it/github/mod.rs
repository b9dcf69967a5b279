//! The GitHub App: its credentials, and its registration.

mod app;
mod checks;
mod commands;
mod openapi;
mod setup;
