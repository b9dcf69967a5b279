//! Objects that are too large for rows: files below the data folder.

mod caches;
mod repack;

pub use caches::{Cached, Caches, NewCache, Settings};
