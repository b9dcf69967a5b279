//! Whether the disks have room for another job.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bytesize::ByteSize;

/// Looks at disks before a job is begun, which costs a system call each.
#[derive(Debug, Clone)]
pub struct Room {
    data: PathBuf,
    least: ByteSize,
}

impl Room {
    /// On the disk of the `data` folder, and wherever else it is asked for, `least` must be free.
    pub fn new(data: PathBuf, least: ByteSize) -> Self {
        Self { data, least }
    }

    /// What is wrong with the disk of the data folder, in words; none when it has room.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn wanting(&self) -> anyhow::Result<Option<String>> {
        self.wanting_at(&self.data)
    }

    /// As [`Room::wanting`], of the disk of another folder.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn wanting_at(&self, folder: &Path) -> anyhow::Result<Option<String>> {
        // Without the free bytes, which change all the time: this is told when it is news.
        Ok((free(folder)? < self.least).then(|| {
            format!(
                "less than {} are free under {} (storage.least_free): no job is begun until there is room. Make some; \
                 jobs that run go on",
                self.least,
                folder.display()
            )
        }))
    }

    /// Whether so much more may be written to the disk of the data folder.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn has_for(&self, more: ByteSize) -> anyhow::Result<bool> {
        self.has_for_at(&self.data, more)
    }

    /// As [`Room::has_for`], of the disk of another folder.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn has_for_at(&self, folder: &Path, more: ByteSize) -> anyhow::Result<bool> {
        Ok(free(folder)?.as_u64() >= self.least.as_u64().saturating_add(more.as_u64()))
    }
}

/// What is free on the disk of a folder.
///
/// # Errors
/// When it cannot be looked at.
pub fn free(folder: &Path) -> anyhow::Result<ByteSize> {
    let disk = rustix::fs::statvfs(folder).with_context(|| format!("looking at {}", folder.display()))?;
    Ok(ByteSize::b(disk.f_bavail.saturating_mul(disk.f_frsize)))
}
