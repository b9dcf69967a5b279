//! What is too large for rows: objects in a folder or a bucket, and caches of jobs as files.
//!
//! It joins both for who reads: where a log is, in rows or in an object, is known here and nowhere above.

mod caches;
mod logs;
mod objects;
mod repack;
mod room;

pub use caches::{Cached, Caches, NewCache, Settings};
pub use logs::{Logs, Moved};
pub use objects::{Away, Keys, Listed, NewObject, ObjectSettings, Objects};
pub use room::{Room, free};
