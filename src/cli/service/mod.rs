//! The commands of operators: they run the service, or work on its data.

pub(super) mod backup;
mod cron;
mod database;
pub(super) mod notify;
pub(super) mod repo;
pub(super) mod serve;
pub(super) mod setup;
pub(super) mod user;
mod variable;
pub(super) mod webhook_secret;
pub(super) mod work;
