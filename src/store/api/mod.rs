//! Rows of the JSON API: changes of builds for its streams of events, and requests with idempotency keys.

pub mod build_changes;
pub mod keyed_requests;
