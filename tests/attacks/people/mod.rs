//! Attacks by people: commands in comments, and sessions.

mod commands;
mod sessions;
