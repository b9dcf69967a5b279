//! The GitHub App: its credentials, and its registration; and repositories on other servers.

mod app;
mod checks;
mod forge;
mod openapi;
mod setup;
