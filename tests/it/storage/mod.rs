//! Logs, artifacts and caches, and the disks that hold them.

mod artifacts;
mod backup;
mod cache;
mod disk;
mod objects;
mod restore;
mod retention;
