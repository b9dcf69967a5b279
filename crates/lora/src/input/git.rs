//! The address of a git repository, as people write it: `git+https://HOST/PATH@REVISION//FOLDER`.

use std::fmt;

use super::is_commit;
use crate::repository::normal;

const FORM: &str = "git+https://HOST/PATH@REVISION//FOLDER";
/// Maximum length of a revision.
const MAX_REVISION: usize = 200;
/// Branches that a repository usually has as its own.
const USUAL_BRANCHES: [&str; 2] = ["main", "master"];

/// A git repository, or a part of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GitSource {
    /// Address of the repository, `https://HOST/PATH`.
    pub url: String,
    /// A commit, a tag or a branch; `None` for the latest commit of the default branch.
    pub revision: Option<String>,
    /// A file or a folder in the repository; `None` for all of it.
    pub path: Option<String>,
}

impl GitSource {
    /// Returns true if the revision is a commit.
    pub fn is_at_commit(&self) -> bool {
        self.revision.as_deref().is_some_and(is_commit)
    }

    /// Returns true if the revision is not one that surely moves.
    pub(super) fn is_pinned(&self) -> bool {
        self.revision.as_deref().is_some_and(|revision| !USUAL_BRANCHES.contains(&revision))
    }
}

/// Reads the part of an address behind `git+https://`. The error says what it has to be.
pub(super) fn read(scheme: &str, rest: &str) -> Result<GitSource, String> {
    let wanted = || FORM.to_owned();
    let (repository, path) = match rest.split_once("//") {
        Some((repository, path)) => (repository, Some(path)),
        None => (rest.trim_end_matches('/'), None),
    };
    let (host, name) = repository.split_once('/').ok_or_else(wanted)?;
    if host.contains('@') {
        return Err(format!("{FORM}, without a name and a password before the host"));
    }
    let (name, revision) = match name.split_once('@') {
        Some((name, revision)) => (name, Some(revision)),
        None => (name, None),
    };
    let is_host = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "-.:[]".contains(c));
    if !is_host || !is_name(name) {
        return Err(wanted());
    }
    if revision.is_some_and(|revision| !is_revision(revision)) {
        return Err(format!("{FORM} with a commit, a tag or a branch as revision"));
    }
    let path = match path.map(|path| path.trim_end_matches('/')).filter(|path| !path.is_empty()) {
        Some(path) => Some(normal(path).filter(|normal| normal == path).ok_or_else(wanted)?),
        None => None,
    };
    Ok(GitSource { url: format!("{scheme}://{host}/{name}"), revision: revision.map(str::to_owned), path })
}

/// Returns true for the path of a repository on its host.
fn is_name(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.~+".contains(c);
    text.split('/').all(|part| !matches!(part, "" | "." | "..") && part.chars().all(is_plain))
}

/// Returns true for a name of a branch or a tag that git reads as nothing else.
fn is_revision(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
    let is_part = |part: &str| !part.is_empty() && !part.starts_with(['.', '-']) && part.chars().all(is_plain);
    text.len() <= MAX_REVISION && text.split('/').all(is_part) && !text.contains("..")
}

impl fmt::Display for GitSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "git+{}", self.url)?;
        self.revision.iter().try_for_each(|revision| write!(f, "@{revision}"))?;
        self.path.iter().try_for_each(|path| write!(f, "//{path}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_a_revision_and_a_folder_are_told_apart() {
        let read = |rest: &str| read("https", rest).unwrap_or_else(|error| panic!("{rest}: {error}"));
        let all = read("git.example.org:8443/acme/sub/style.git@feature/x//train/a/");
        assert_eq!(all.url, "https://git.example.org:8443/acme/sub/style.git");
        assert_eq!((all.revision.as_deref(), all.path.as_deref()), (Some("feature/x"), Some("train/a")));
        assert!(all.is_pinned() && !all.is_at_commit());
        let latest = read("git.example.org/style/");
        assert_eq!((latest.url.as_str(), latest.revision), ("https://git.example.org/style", None));
        let folder = read("git.example.org/style//a@b");
        assert_eq!((folder.revision.clone(), folder.path.as_deref()), (None, Some("a@b")));
        assert!(!folder.is_pinned() && !read("git.example.org/style@main").is_pinned());
        assert!(read(&format!("git.example.org/style@{}", "ab".repeat(20))).is_at_commit());
    }

    #[test]
    fn an_address_that_is_none_is_told_with_what_is_right() {
        for (rest, told) in [
            ("git.example.org", FORM),
            ("git.example.org/", FORM),
            ("/acme/style", FORM),
            ("git.example.org/acme/../style", FORM),
            ("git.example.org/acme/%2e%2e", FORM),
            ("git.example.org/acme/style?x=y", FORM),
            ("git.example.org/style//../x", FORM),
            ("git.example.org/style//a//b", FORM),
            ("ada:secret@git.example.org/style", "without a name and a password"),
            ("git.example.org/style@", "a commit, a tag or a branch"),
            ("git.example.org/style@-x", "a commit, a tag or a branch"),
            ("git.example.org/style@a..b", "a commit, a tag or a branch"),
            ("git.example.org/style@refs/*", "a commit, a tag or a branch"),
        ] {
            let error = read("https", rest).expect_err(rest);
            assert!(error.contains(told), "{rest}: {error}");
        }
    }
}
