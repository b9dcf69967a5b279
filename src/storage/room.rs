//! Check for free space and free inodes on disks, before jobs start and while git writes.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bytesize::ByteSize;

/// Least number of free inodes: a job of a large environment makes as many files. Small disks have fewer, and need a
/// twentieth of theirs.
const LEAST_INODES: u64 = 50_000;
const LEAST_SHARE: u64 = 20;

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
        let free = free(folder)?;
        // The text does not name what is free, which changes all the time: a changed text counts as news.
        let wanting = if free.space < self.least {
            format!("less than {} are free under {} (storage.least_free)", self.least, folder.display())
        } else if free.has_few_inodes() {
            format!("hardly any inodes are free under {}, because it has very many files", folder.display())
        } else {
            return Ok(None);
        };
        Ok(Some(format!(
            "{wanting}: nothing is fetched and no job starts until there is room. Free some; running jobs go on"
        )))
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
        let free = free(folder)?;
        Ok(!free.has_few_inodes() && free.space.as_u64() >= self.least.as_u64().saturating_add(more.as_u64()))
    }
}

/// The free part of a disk.
struct Free {
    space: ByteSize,
    inodes: u64,
    /// Number of all inodes; 0 on a file system that has no fixed number.
    all_inodes: u64,
}

impl Free {
    fn has_few_inodes(&self) -> bool {
        self.all_inodes > 0 && self.inodes < LEAST_INODES.min(self.all_inodes / LEAST_SHARE)
    }
}

fn free(folder: &Path) -> anyhow::Result<Free> {
    let disk = rustix::fs::statvfs(folder).with_context(|| format!("checking the disk of {}", folder.display()))?;
    let space = ByteSize::b(disk.f_bavail.saturating_mul(disk.f_frsize));
    Ok(Free { space, inodes: disk.f_favail, all_inodes: disk.f_files })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_inodes_are_few_of_all_or_few_for_a_job() {
        let free = |inodes, all_inodes| Free { space: ByteSize::gib(1), inodes, all_inodes };
        assert!(free(49_999, 60_000_000).has_few_inodes() && !free(50_000, 60_000_000).has_few_inodes());
        assert!(free(49, 1000).has_few_inodes() && !free(50, 1000).has_few_inodes());
        assert!(!free(0, 0).has_few_inodes(), "btrfs counts none");
    }
}
