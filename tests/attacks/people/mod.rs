//! Attacks by people: commands in comments, labels, sessions, and the setup.

mod commands;
mod labels;
mod sessions;
mod setup;
