//! The place of an artifact on this machine. The server names the file, and must not choose the place.

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

use crate::cli::table::inert;

/// Maximum length of a path, in bytes.
const MAX_PATH: usize = 1000;

/// Returns the path in `folder` for an artifact's path, or the reason why it has none: it leads out of the folder, or
/// has characters that no name of a file should have.
pub(super) fn place(folder: &Path, path: &str) -> anyhow::Result<PathBuf> {
    let shown: String = inert(path).chars().take(200).collect();
    ensure!(path.len() <= MAX_PATH, "the name of the artifact {shown}… is too long");
    ensure!(inert(path) == path, "the name of the artifact {shown} has control characters");
    let parts: Vec<&str> = path.split('/').collect();
    let is_plain = |part: &&str| {
        let mut components = Path::new(part).components();
        matches!((components.next(), components.next()), (Some(Component::Normal(name)), None) if name == OsStr::new(part))
    };
    ensure!(parts.iter().all(is_plain), "the artifact {shown} would be outside of the folder");
    Ok(parts.iter().fold(folder.to_owned(), |path, part| path.join(part)))
}

/// Makes the folders for a file below `folder`. None of them may be a symbolic link, which could lead out of it.
pub(super) fn make_folders(folder: &Path, file: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("making the folder {}", folder.display()))?;
    let below = file.strip_prefix(folder)?.parent().unwrap_or(Path::new(""));
    let mut path = folder.to_owned();
    for part in below.components() {
        path.push(part);
        match fs::create_dir(&path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(error).with_context(|| format!("making the folder {}", path.display()));
            }
            _ => {}
        }
        if !fs::symlink_metadata(&path)?.is_dir() {
            bail!("{} is not a folder", path.display());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_artifact_stays_in_its_folder() {
        let at = |path: &str| place(Path::new("to"), path).ok();
        assert_eq!(at("out/deep/a b#1.txt"), Some("to/out/deep/a b#1.txt".into()));
        assert_eq!(at("..."), Some("to/...".into()));
        let long = "x/".repeat(600);
        for outside in [
            "../../x",
            "/etc/passwd",
            "a/../../b",
            "a/./b",
            ".",
            "..",
            "",
            "a//b",
            "a/",
            "a\nb",
            "a\u{1b}[2J",
            "\u{202e}x",
            &long,
        ] {
            assert_eq!(at(outside), None, "{outside:?}");
        }
    }

    #[test]
    fn a_link_in_the_folder_is_not_followed() {
        let outside = tempfile::tempdir().expect("a folder");
        let folder = tempfile::tempdir().expect("a folder");
        std::os::unix::fs::symlink(outside.path(), folder.path().join("out")).expect("a link");
        let file = place(folder.path(), "out/x").expect("a place");
        let error = make_folders(folder.path(), &file).expect_err("refused");
        assert!(error.to_string().contains("is not a folder"), "{error}");
        make_folders(folder.path(), &folder.path().join("a/b/c")).expect("made");
        assert!(folder.path().join("a/b").is_dir());
    }
}
