//! The JSON API.

mod clients;
mod document;
mod events;
mod problems;
mod reads;
mod world;
