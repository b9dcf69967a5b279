//! Check for free disk space before a job starts.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bytesize::ByteSize;

/// Checks the disks before a job starts. Each check costs a system call.
#[derive(Debug, Clone)]
pub struct Room {
    data: PathBuf,
    least: ByteSize,
}

impl Room {
    /// Returns a check that requires `least` free space on the disk of the `data` folder, and of every folder that is
    /// passed to it.
    pub fn new(data: PathBuf, least: ByteSize) -> Self {
        Self { data, least }
    }

    /// Describes the problem with the disk of the data folder, or returns `None` when it has enough space.
    ///
    /// # Errors
    /// Fails when the disk cannot be checked.
    pub fn wanting(&self) -> anyhow::Result<Option<String>> {
        self.wanting_at(&self.data)
    }

    /// Works as [`Room::wanting`] for the disk of another folder.
    ///
    /// # Errors
    /// Fails when the disk cannot be checked.
    pub fn wanting_at(&self, folder: &Path) -> anyhow::Result<Option<String>> {
        // The text does not name the free bytes, which change all the time: a changed text counts as news.
        Ok((free(folder)? < self.least).then(|| {
            format!(
                "less than {} are free under {} (storage.least_free): no job starts until there is room. Free some; \
                 running jobs go on",
                self.least,
                folder.display()
            )
        }))
    }

    /// Returns true if `more` bytes may still be written to the disk of the data folder.
    ///
    /// # Errors
    /// Fails when the disk cannot be checked.
    pub fn has_for(&self, more: ByteSize) -> anyhow::Result<bool> {
        self.has_for_at(&self.data, more)
    }

    /// Works as [`Room::has_for`] for the disk of another folder.
    ///
    /// # Errors
    /// Fails when the disk cannot be checked.
    pub fn has_for_at(&self, folder: &Path, more: ByteSize) -> anyhow::Result<bool> {
        Ok(free(folder)?.as_u64() >= self.least.as_u64().saturating_add(more.as_u64()))
    }
}

/// Returns the free space on the disk of a folder.
///
/// # Errors
/// Fails when the disk cannot be checked.
pub fn free(folder: &Path) -> anyhow::Result<ByteSize> {
    let disk = rustix::fs::statvfs(folder).with_context(|| format!("checking the disk of {}", folder.display()))?;
    Ok(ByteSize::b(disk.f_bavail.saturating_mul(disk.f_frsize)))
}
