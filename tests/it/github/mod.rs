//! GitHub beyond pushes: the App, check runs, commands and comments.

mod app;
mod buttons;
mod checks;
mod commands;
mod openapi;
mod setup;
mod sticky;
