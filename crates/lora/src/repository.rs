//! The files of a repository that a config can name.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::OnceLock;

/// The files of a repository, by their paths from its root.
#[derive(Debug, Default)]
pub struct Repository<'a> {
    paths: BTreeSet<&'a str>,
    texts: BTreeMap<&'a str, &'a [u8]>,
    toolkit_folders: OnceLock<BTreeSet<String>>,
}

impl<'a> Repository<'a> {
    /// Creates a repository from the paths of its files and the bytes of those that were read. A rule that checks
    /// whether a file exists requires all paths; without any paths it reports nothing.
    pub fn of(paths: impl IntoIterator<Item = &'a str>, texts: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let (paths, texts) = (paths.into_iter().collect(), texts.into_iter().collect());
        Self { paths, texts, toolkit_folders: OnceLock::new() }
    }

    /// Returns the bytes of a file if it was read.
    pub(super) fn text(&self, path: &str) -> Option<&'a [u8]> {
        self.texts.get(path).copied()
    }

    /// Returns the paths and bytes of all files that were read.
    pub(super) fn texts(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.texts.iter().map(|(path, text)| (*path, *text))
    }

    /// Returns the folders that hold configs of ai-toolkit. All files are looked at once, by `is_config` with the path and
    /// the bytes of each; many commands may ask.
    pub(super) fn toolkit_folders(&self, is_config: impl Fn(&str, &[u8]) -> bool) -> &BTreeSet<String> {
        self.toolkit_folders.get_or_init(|| {
            let configs = self.texts().filter(|(path, text)| is_config(path, text));
            configs.map(|(path, _)| folder(path).to_owned()).collect()
        })
    }

    /// Returns true if no file of the repository is known.
    pub(super) fn is_unknown(&self) -> bool {
        self.paths.is_empty()
    }

    /// Returns the path of the file with this name that is nearest to the root. Among files at the same depth, one in a
    /// folder `stable` comes first: Akegarasu's lora-scripts has both `stable` and `dev`.
    pub(super) fn nearest(&self, name: &str) -> Option<&'a str> {
        let named = self.paths.iter().copied().filter(|path| path.rsplit('/').next() == Some(name));
        named.min_by_key(|path| (path.matches('/').count(), !path.contains("stable/"), *path))
    }

    /// Returns the paths of all files in a folder and its sub-folders.
    pub(super) fn files_in(&self, folder: &str) -> Vec<&'a str> {
        let folder = format!("{folder}/");
        let from = (Bound::Included(folder.as_str()), Bound::Unbounded);
        self.paths.range::<str, _>(from).copied().take_while(|path| path.starts_with(&folder)).collect()
    }

    /// Returns true if the folder itself has a file with this extension. The root is the folder without a name.
    pub(super) fn has_beside(&self, folder: &str, extension: &str) -> bool {
        let folder = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let from = (Bound::Included(folder.as_str()), Bound::Unbounded);
        let inside = self.paths.range::<str, _>(from).map_while(|path| path.strip_prefix(folder.as_str()));
        inside
            .into_iter()
            .any(|path| !path.contains('/') && path.rsplit_once('.').is_some_and(|(_, end)| end == extension))
    }

    /// Returns true if a file of any folder has this path from there on.
    pub(super) fn has_ending(&self, path: &str) -> bool {
        let is_below = |known: &&str| known.strip_suffix(path).is_some_and(|before| before.ends_with('/'));
        self.paths.iter().any(is_below)
    }

    /// Returns true if there is a file or a non-empty folder with this path.
    pub(super) fn has(&self, path: &str) -> bool {
        let folder = format!("{path}/");
        self.paths.contains(path) || self.paths.range(folder.as_str()..).next().is_some_and(|p| p.starts_with(&folder))
    }
}

/// Returns the folder of a file. The root is the folder without a name.
pub(super) fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Normalizes a path from the root so that it has no `.` and `..`. Returns `None` if the path leads out of the
/// repository or has placeholders that a program fills in.
pub(super) fn normal(path: &str) -> Option<String> {
    if path.starts_with(['/', '~']) || path.contains([':', '$', '{', '<', '[', '*', '\n']) {
        return None;
    }
    let path = path.replace('\\', "/");
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/")).filter(|path| !path.is_empty())
}
