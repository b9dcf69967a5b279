//! The containers of an engine: creation, staging, the pool of ready ones, their files, and their usage.

pub(super) mod archive;
pub(super) mod create;
pub(super) mod host_config;
pub mod list;
pub mod pool;
pub mod staged;
pub mod usage;

pub use archive::Upload;
