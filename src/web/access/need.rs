//! Needs of routes.

use crate::domain::Right;

/// Need of a route: the condition that its viewer has to meet. The table of routes says it, and the gate checks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing, and the answer tells nothing of any repository.
    Nothing,
    /// Nothing, and the answer has only what the viewer may read.
    Anyone,
    /// A person or a program that is known.
    Known,
    /// A person in a browser.
    Person,
    /// A person in a browser, or a program with a token for everything of its person.
    WholePerson,
    /// Sight of all repositories: that of an operator, or anybody's while reading is open.
    Everything,
    /// An operator.
    Operator,
    /// A right in the repository of what the path names.
    Right(Right, Of),
    /// A signature, which the handler checks.
    Signature,
}

/// Thing that the path of a route names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// A repository, by `{owner}` and `{repo}`.
    Repo,
    /// A repository, by its number or its name in `{slug}`.
    Slug,
    /// A build, by `{id}`.
    Build,
    /// A job, by `{id}`.
    Job,
}

impl Of {
    /// Returns the word for the thing.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Repo | Self::Slug => "repository",
            Self::Build => "build",
            Self::Job => "job",
        }
    }
}
