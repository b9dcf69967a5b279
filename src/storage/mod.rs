//! Data that is too large for rows: objects in a folder or a bucket, caches of jobs as files, and buckets of others.
//!
//! This module hides the place of a log from its readers: no module above knows whether it is in rows or in an object.

pub mod backup;
mod bucket;
mod caches;
mod folder;
mod logs;
mod objects;
mod outgoing;
mod repack;
mod room;
mod token_files;

pub use bucket::{Bucket, BucketAccess, BucketError, BucketFile};
pub use caches::{CacheConfig, Cached, Caches, ForksRead, NewCache};
pub use folder::{Folder, FolderError, S3Config};
pub use logs::{Logs, Moved};
pub use objects::{Away, Keys, Listed, NewObject, Objects, StorageConfig};
pub use outgoing::{Content, OutgoingFile};
pub use repack::{Limits, Packer};
pub use room::Room;
