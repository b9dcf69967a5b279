//! The list of the files of a data set or a model.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Maximum length of a path, in bytes.
const MAX_PATH: usize = 1024;

/// The files of an input, as they were fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// The address, as it was asked for.
    pub(super) source: String,
    /// The commit, the SHA-256 or the state that was fetched.
    pub(super) revision: String,
    /// True if the input is a file, and not a folder.
    pub(super) is_single: bool,
    pub(super) digest: String,
    /// The start of the machine since which the files were read.
    pub(super) boot: String,
    /// The kind of the files, in words.
    pub(super) contents: String,
    pub(super) files: Vec<StoredFile>,
}

/// A file of an input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredFile {
    /// Path in the folder of the input.
    pub(super) path: String,
    pub(super) size: u64,
    pub(super) sha256: String,
}

impl Manifest {
    /// Makes the list of files. `files` are in any order.
    pub(super) fn new(source: String, revision: String, is_single: bool, mut files: Vec<StoredFile>) -> Self {
        files.sort_by(|one, other| one.path.cmp(&other.path));
        let digest = match files.as_slice() {
            [file] if is_single => file.sha256.clone(),
            files => hex::encode(Sha256::digest(sums(files))),
        };
        Self { source, revision, is_single, digest, boot: String::new(), contents: String::new(), files }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }
}

/// Returns the list that `sha256sum` prints for files in the order of their names.
fn sums(files: &[StoredFile]) -> String {
    files.iter().map(|file| format!("{}  {}\n", file.sha256, file.path)).collect()
}

/// Returns true for a path that leads to a place in a folder, on every file system.
pub(super) fn is_plain(path: &str) -> bool {
    let is_part = |part: &str| !matches!(part, "" | "." | "..") && part.len() <= 255;
    path.len() <= MAX_PATH && path.split('/').all(is_part) && !path.chars().any(|c| c.is_control() || c == '\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_sha256sum() {
        let file = |path: &str, text: &str| StoredFile {
            path: path.to_owned(),
            size: text.len() as u64,
            sha256: hex::encode(Sha256::digest(text)),
        };
        let folder = Manifest::new("a".into(), "b".into(), false, vec![file("b.txt", "b\n"), file("a.txt", "a\n")]);
        // printf 'a\n' >a.txt; printf 'b\n' >b.txt; sha256sum a.txt b.txt | sha256sum
        assert_eq!(folder.files[0].path, "a.txt");
        assert_eq!(folder.digest, hex::encode(Sha256::digest(sums(&folder.files))));
        assert_eq!(sums(&folder.files).lines().count(), 2);
        let single = Manifest::new("a".into(), "b".into(), true, vec![file("b.txt", "b\n")]);
        assert_eq!(single.digest, single.files[0].sha256);
        assert_eq!(folder.bytes(), 4);
    }

    #[test]
    fn paths_stay_in_their_folder() {
        for path in ["a", "a/b c/ü.png", ".gitattributes", "a..b"] {
            assert!(is_plain(path), "{path}");
        }
        for path in ["", "/a", "a/", "a//b", "..", "a/../b", "./a", "a\0", "a\nb", "a\\b"] {
            assert!(!is_plain(path), "{path:?}");
        }
        assert!(!is_plain(&"x".repeat(256)) && !is_plain(&"x/".repeat(600)));
    }
}
