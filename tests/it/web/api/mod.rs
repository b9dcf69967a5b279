//! The JSON API.

mod events;
mod problems;
mod reads;
mod world;
