//! Containers: how one is created, staged and kept ready, what goes into it, and what it uses.

pub(super) mod archive;
pub(super) mod create;
pub(super) mod host_config;
pub mod list;
pub mod pool;
pub mod staged;
pub mod usage;

pub use archive::Upload;
