//! The GitHub App: its credentials, and its registration.

mod app;
mod openapi;
mod setup;
