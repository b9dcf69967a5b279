//! The Postgres server itself: the private cluster, and the examination of a configured server.

pub mod cluster;
pub mod examine;
