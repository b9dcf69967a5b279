//! Code that the tests, the demo and the benchmarks share: a stand-in for GitHub with repositories that git can fetch,
//! and services on their own databases.
#![allow(dead_code, reason = "each user of this folder takes another part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a stand-in that cannot work shall say so at once")]
#![allow(clippy::result_large_err, reason = "a stand-in answers with a response, good or bad")]
#![allow(missing_docs, reason = "documented where it is not obvious")]

pub mod app;
pub mod chat;
pub mod database;
pub mod docker;
pub mod engine;
pub mod files;
pub mod git_host;
pub mod gitea;
pub mod github;
pub mod hostile;
pub mod hub;
pub mod lfs;
pub mod mail;
pub mod mount;
pub mod oidc;
pub mod payload;
pub mod people;
pub mod post;
pub mod recorder;
pub mod s3;
pub mod service;
pub mod slack;
pub mod travis;
pub mod trouble;
pub mod web;
