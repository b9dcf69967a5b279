//! Small file systems in memory, to be filled. They need root.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system that is mounted as long as this value lives.
pub struct Mounted(PathBuf);

impl Mounted {
    /// Mounts a file system with these options of tmpfs, such as `size=64m`.
    pub fn new(at: &Path, options: &str) -> Self {
        std::fs::create_dir_all(at).unwrap();
        let options = format!("{options},mode=755");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "trainyard-test"]).arg(at));
        Self(at.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        run(Command::new("umount").arg("--lazy").arg(&self.0));
    }
}

fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}
