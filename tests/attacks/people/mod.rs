//! Attacks by people: commands in comments, sessions, and the setup.

mod commands;
mod sessions;
mod setup;
