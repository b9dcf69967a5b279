//! The JSON API.

mod document;
mod events;
mod problems;
mod reads;
mod world;
