//! What the repository holds, as far as a config can name it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// The files of a repository, by their paths from its root.
#[derive(Debug, Default)]
pub struct Repository<'a> {
    paths: BTreeSet<&'a str>,
    texts: BTreeMap<&'a str, &'a [u8]>,
}

impl<'a> Repository<'a> {
    /// A repository with files of these paths, and the bytes of those that were read. A rule that asks whether a file is
    /// there needs all paths; without any it says nothing.
    pub fn of(paths: impl IntoIterator<Item = &'a str>, texts: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        Self { paths: paths.into_iter().collect(), texts: texts.into_iter().collect() }
    }

    /// The bytes of a file, if it was read.
    pub(super) fn text(&self, path: &str) -> Option<&'a [u8]> {
        self.texts.get(path).copied()
    }

    /// Whether nothing is known of its files.
    pub(super) fn is_unknown(&self) -> bool {
        self.paths.is_empty()
    }

    /// The path of the file with this name that is nearest to the root. Of several in folders of the same depth, one in
    /// a folder `stable` comes first, as Akegarasu's lora-scripts has it beside `dev`.
    pub(super) fn nearest(&self, name: &str) -> Option<&'a str> {
        let named = self.paths.iter().copied().filter(|path| path.rsplit('/').next() == Some(name));
        named.min_by_key(|path| (path.matches('/').count(), !path.contains("stable/"), *path))
    }

    /// The paths of all files in a folder and in those below it.
    pub(super) fn files_in(&self, folder: &str) -> Vec<&'a str> {
        let folder = format!("{folder}/");
        let from = (Bound::Included(folder.as_str()), Bound::Unbounded);
        self.paths.range::<str, _>(from).copied().take_while(|path| path.starts_with(&folder)).collect()
    }

    /// Whether there is a file of this path, or one in a folder of this path.
    pub(super) fn has(&self, path: &str) -> bool {
        let folder = format!("{path}/");
        self.paths.contains(path) || self.paths.range(folder.as_str()..).next().is_some_and(|p| p.starts_with(&folder))
    }
}

/// A relative path from the root without `.` and `..`; none for one that leads elsewhere or that a program fills in.
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
