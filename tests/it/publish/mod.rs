//! The way of trained weights to the Hugging Face Hub, to releases at GitHub and to buckets.

mod again;
mod approval;
mod bucket;
mod client;
mod killed;
mod once;
mod refusals;
mod release;
mod service;
mod told;
mod world;
