//! The tree of a commit, and the objects in it, in any repository of this machine.

use std::path::Path;

use anyhow::{Context as _, bail};

use super::{LOCAL_LIMIT, git, run};

/// A file of a commit's tree.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TreeFile {
    /// Path in the repository.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    pub(super) object: String,
}

#[cfg(test)]
impl TreeFile {
    /// Returns a file whose content is identified by its size only.
    pub fn new(path: &str, size: u64) -> Self {
        Self { path: path.to_owned(), size, object: size.to_string() }
    }
}

/// The tree of a commit.
#[derive(Debug, Default)]
pub struct Tree {
    /// The regular files.
    pub files: Vec<TreeFile>,
    /// The paths of links and submodules, and those that are not UTF-8.
    pub others: Vec<String>,
}

impl Tree {
    /// Reads the answer of `git ls-tree -r -z -l`.
    pub(super) fn read(listing: &[u8]) -> anyhow::Result<Self> {
        let mut tree = Self::default();
        for line in listing.split(|b| *b == 0).filter(|line| !line.is_empty()) {
            // MODE SP TYPE SP OBJECT SP+ SIZE TAB PATH
            let tab = line.iter().position(|b| *b == b'\t').context("git ls-tree answered in an unknown form")?;
            let facts = std::str::from_utf8(&line[..tab])?;
            let facts: Vec<&str> = facts.split_whitespace().collect();
            match (&facts[..], std::str::from_utf8(&line[tab + 1..])) {
                (["100644" | "100755", "blob", object, size], Ok(path)) => {
                    let (path, object) = (path.to_owned(), (*object).to_owned());
                    tree.files.push(TreeFile { path, size: size.parse()?, object });
                }
                _ => tree.others.push(String::from_utf8_lossy(&line[tab + 1..]).into_owned()),
            }
        }
        Ok(tree)
    }
}

/// Reads objects of a repository, in the order of their names. All of them are in memory at once.
pub(super) async fn objects(repository: &Path, names: &[&str]) -> anyhow::Result<Vec<Vec<u8>>> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let mut git = git(repository);
    git.args(["cat-file", "--batch"]);
    let asked = names.iter().map(|name| format!("{name}\n")).collect::<String>();
    let answer = run(git, LOCAL_LIMIT, Some(asked.into_bytes())).await?;
    let mut rest = answer.as_slice();
    let mut contents = Vec::with_capacity(names.len());
    for name in names {
        // OBJECT SP TYPE SP SIZE LF CONTENTS LF
        let end = rest.iter().position(|b| *b == b'\n').context("git cat-file answered too little")?;
        let head = std::str::from_utf8(&rest[..end])?;
        let size: usize = match head.split(' ').collect::<Vec<_>>()[..] {
            [_, "blob" | "commit", size] => size.parse()?,
            _ => bail!("git has no object {name}: {head}"),
        };
        let from = end + 1;
        contents.push(rest.get(from..from + size).context("git cat-file answered too little")?.to_vec());
        rest = rest.get(from + size + 1..).unwrap_or_default();
    }
    Ok(contents)
}
