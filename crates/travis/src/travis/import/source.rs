//! Sources of imports, as the key `import` names them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::domain::{RepoName, Revision};

/// Maximum length of a path, and of a revision's name, in bytes.
const MAX_LENGTH: usize = 300;

/// A file of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Source {
    pub repo: RepoName,
    /// The commit at which the file is read.
    pub revision: Revision,
    /// Path from the root of the repository: `/` between its parts, none of them empty, `.`, `..` or `.git`.
    pub path: String,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { repo, revision, path } = self;
        match revision {
            Revision::Built => f.write_str(path),
            Revision::Default => write!(f, "{repo}:{path}"),
            Revision::Named(name) => write!(f, "{repo}:{path}@{name}"),
            Revision::Commit(sha) => write!(f, "{repo}:{path}@{sha}"),
        }
    }
}

impl Source {
    /// Parses `text` as a source in the file `from`; returns `None` when it is not a source. Without a repository or a
    /// revision, those of `from` apply. A path that starts with `./` or `../` goes on from the folder of `from`, others
    /// from the root.
    pub fn parse(text: &str, from: &Self) -> Option<Self> {
        let (file, name) = match text.rsplit_once('@') {
            Some((file, name)) => (file, Some(name)),
            None => (text, None),
        };
        let (repo, path) = match file.split_once(':') {
            Some((repo, path)) => (repo.parse().ok()?, path),
            // A single word is more likely a mistake than a file.
            None if is_relative(file) || has_extension(file) => (from.repo.clone(), file),
            None => return None,
        };
        let is_same = repo.to_string().eq_ignore_ascii_case(&from.repo.to_string());
        let revision = match name {
            Some(name) => revision(name)?,
            None if is_same => from.revision.clone(),
            None => Revision::Default,
        };
        let folder = if is_relative(path) { from.path.rsplit_once('/').map_or("", |(folder, _)| folder) } else { "" };
        Some(Self { repo: if is_same { from.repo.clone() } else { repo }, revision, path: resolved(folder, path)? })
    }
}

fn is_relative(path: &str) -> bool {
    path.starts_with("./") || path.starts_with("../")
}

fn has_extension(path: &str) -> bool {
    path.ends_with(".yml") || path.ends_with(".yaml")
}

/// Returns the path without `.` and `..`, or `None` when it leaves the repository or cannot be a path in it.
fn resolved(folder: &str, path: &str) -> Option<String> {
    if path.starts_with('/') || path.contains(|c: char| c.is_control() || c == '\\') {
        return None;
    }
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            // Git has no file below a folder of this name.
            "" | ".git" => return None,
            "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    let path = parts.join("/");
    (!path.is_empty() && path.len() <= MAX_LENGTH).then_some(path)
}

/// Returns the commit of this name. The name must be allowed for a branch by git (`git check-ref-format`), and have
/// only plain characters.
fn revision(name: &str) -> Option<Revision> {
    if let Ok(sha) = name.parse() {
        return Some(Revision::Commit(sha));
    }
    let is_plain = |c: char| c.is_ascii_graphic() && !"~^:?*[\\@{".contains(c);
    let is_part = |part: &str| !part.is_empty() && !part.starts_with(['.', '-']) && !part.ends_with(".lock");
    let is_name = name.len() <= MAX_LENGTH
        && name.chars().all(is_plain)
        && name.split('/').all(is_part)
        && !name.contains("..")
        && !name.ends_with('.');
    is_name.then(|| Revision::Named(name.to_owned()))
}
