//! Data sets and models of train jobs: their download, their store, and the jobs that read them.

mod bounds;
mod download;
mod git;
mod hub;
mod service;
mod store;
mod world;
