//! Logs, artifacts and caches, and the disks that hold them.

mod artifacts;
mod cache;
mod disk;
mod objects;
mod retention;
