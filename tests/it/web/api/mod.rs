//! The JSON API.

mod clients;
mod document;
mod events;
mod page;
mod problems;
mod reads;
mod world;
