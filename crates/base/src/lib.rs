//! The words that every part of Trainyard uses, and the two readers that need nothing else. Pure: bytes and values in,
//! values out; no clock, no database, no network.

pub mod domain;
pub mod yaml;
pub mod log_view;
