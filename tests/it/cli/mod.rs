//! The commands, as people type them.

mod condition;
mod doctor;
mod inspect;
mod lint;
mod losses;
mod mock;
mod plan;
mod reference;
mod remote;
mod repo;
mod run;
mod start;
mod user;
mod webhook_secret;
