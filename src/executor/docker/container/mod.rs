//! The containers of an engine: creation, staging, the pool of ready ones, their files, and their usage.

pub(super) mod archive;
pub mod list;
pub mod pool;
pub mod staged;
pub mod usage;

pub use archive::Upload;
