//! GitHub beyond pushes: the App, check runs, commands and comments; and repositories on other servers.

mod app;
mod buttons;
mod checks;
mod commands;
mod forge;
pub mod openapi;
mod setup;
mod sticky;
