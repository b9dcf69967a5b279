//! Containers: how one is created, staged and kept ready, what goes into it, and what it uses.

pub(super) mod archive;
pub mod list;
pub mod pool;
pub mod staged;
pub mod usage;

pub use archive::Upload;
