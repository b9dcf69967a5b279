//! The Postgres server itself: the private cluster, its dumps, and the examination of a configured server.

pub mod cluster;
pub mod dump;
pub mod examine;
