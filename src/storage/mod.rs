//! Data that is too large for rows: objects in a folder or a bucket, and caches of jobs as files.
//!
//! This module hides the place of a log from its readers: no module above knows whether it is in rows or in an object.

pub mod backup;
mod bucket;
mod caches;
mod logs;
mod objects;
mod outgoing;
mod repack;
mod room;
mod token_files;

pub use bucket::{BucketError, Folder, S3Config};
pub use caches::{CacheConfig, Cached, Caches, ForksRead, NewCache};
pub use logs::{Logs, Moved};
pub use objects::{Away, Keys, Listed, NewObject, Objects, StorageConfig};
pub use outgoing::{Content, OutgoingFile};
pub use repack::{Limits, Packer};
pub use room::Room;
