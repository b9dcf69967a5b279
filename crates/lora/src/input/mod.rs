//! Data sets and models that a training reads besides its checkout, and that the service fetches for it.

mod git;
mod source;

use serde::{Deserialize, Serialize};

use crate::yaml::Mark;
pub use git::GitSource;
pub use source::{HubSource, Source};

/// A data set or a model, and its place in the checkout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    pub kind: InputKind,
    pub from: Source,
    /// SHA-256 of the file, in hexadecimal, if the file must have it.
    pub sha256: Option<String>,
    /// Path from the root of the repository. A path that ends with `/` is a folder, in which a single file has its own
    /// name.
    pub to: String,
    /// Position of the entry in the `.travis.yml`.
    #[serde(skip)]
    pub at: Mark,
}

/// The kind of an input. It decides what is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputKind {
    Dataset,
    Model,
}

impl InputKind {
    /// Returns the name of the key.
    pub fn key(self) -> &'static str {
        match self {
            Self::Dataset => "dataset",
            Self::Model => "model",
        }
    }

    /// Returns the words for messages.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Dataset => "data set",
            Self::Model => "model",
        }
    }
}

impl Input {
    /// Returns true if the same content is fetched at any time.
    pub fn is_pinned(&self) -> bool {
        match &self.from {
            Source::Hub(hub) => hub.revision.as_deref().is_some_and(|revision| revision != "main"),
            Source::Git(git) => git.is_pinned(),
            Source::Web(_) => self.sha256.is_some(),
            // There is nothing to pin: what is read is recorded.
            Source::Bucket { .. } | Source::File(_) => true,
        }
    }

    /// Returns the place without the mark of a folder.
    pub fn place(&self) -> &str {
        self.to.trim_end_matches('/')
    }
}

/// Returns true for the id of a commit.
fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Returns true if one of the paths is the other, or leads into it.
pub fn overlap(one: &str, other: &str) -> bool {
    let is_in = |inner: &str, outer: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'));
    one == other || is_in(one, other) || is_in(other, one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_overlap_by_whole_parts() {
        for (one, other) in [("data", "data"), ("data/train", "data"), ("data", "data/a/b")] {
            assert!(overlap(one, other), "{one} {other}");
        }
        for (one, other) in [("data", "data2"), ("data/a", "data/b"), ("a/data", "data")] {
            assert!(!overlap(one, other), "{one} {other}");
        }
    }
}
