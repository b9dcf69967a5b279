//! The part of its repository that a job gets.

use serde::{Deserialize, Serialize};

use super::Sha;

/// The files and the history that a job asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkout {
    /// True when there are files at all (`git.clone`).
    pub clone: bool,
    /// Number of commits of the history; `None` for all.
    pub depth: Option<u32>,
    /// `core.autocrlf`, when it is set: `true`, `false` or `input`.
    pub autocrlf: Option<String>,
    /// `core.symlinks`, when it is set.
    pub symlinks: Option<bool>,
}

impl Checkout {
    /// Number of commits in a checkout without `git.depth`, as on Travis.
    pub const DEPTH: u32 = 50;

    /// Returns true if there are files, exactly as git writes them by default.
    pub fn is_plain(&self) -> bool {
        self.clone && self.autocrlf.is_none() && self.symlinks.is_none()
    }
}

impl Default for Checkout {
    fn default() -> Self {
        Self { clone: true, depth: Some(Self::DEPTH), autocrlf: None, symlinks: None }
    }
}

/// A commit of a repository, as an import names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Revision {
    /// The commit that is built.
    Built,
    /// The head of the default branch.
    Default,
    /// The head of a branch or a tag. Git cannot misread the name: it is not an option or a pattern, and has no `:`.
    Named(String),
    /// A commit by its id.
    Commit(Sha),
}
