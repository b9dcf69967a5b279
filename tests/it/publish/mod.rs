//! The way of trained weights to the Hugging Face Hub.

mod client;
mod killed;
mod once;
mod refusals;
mod service;
mod world;
