//! Training configs, trained weights and losses: bytes in, problems and facts out. Knows no build, no database and no Docker.
//!
//! A config is linted only when its content shows which trainer it is for; other files are left alone.

mod dialect;
mod keys;
pub mod mock;
mod read;
mod repository;
mod rules;
mod secret;
pub mod series;
pub mod smoke;
mod settings;
mod tree;
pub mod verdict;
pub mod weights;
mod write;

use crate::domain::{Problem, Severity};
use crate::yaml::{MAX_BYTES, Mark};

pub use dialect::Dialect;
pub use repository::Repository;
pub use secret::hidden;
pub use settings::{Level, OwnDialect, Settings, SmokeSettings, Wanted};

/// What was found in a training config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linted {
    /// The trainer that the file is for.
    pub dialect: Dialect,
    /// What is wrong, in the order of the lines.
    pub problems: Vec<Problem>,
}

/// The most problems that are told of one file; who has mended those sees the next.
const MAX_PROBLEMS: usize = 200;

/// Checks the file at `path` if it is a training config of a dialect we know. Files that it names are looked for in the
/// repository.
pub fn lint(path: &str, text: &[u8], repository: &Repository<'_>) -> Option<Linted> {
    let format = read::Format::of(path)?;
    if text.len() > MAX_BYTES {
        return None;
    }
    let source = format.read(std::str::from_utf8(text).ok()?);
    let root = source.root.as_ref()?;
    // What cannot be parsed is judged by what could be read: a template of another tool is no config of ours.
    let dialect = Dialect::of(format, root)?;
    let is_whole = !source.faults.iter().any(|fault| fault.fatal);
    let found = if is_whole { rules::check(dialect, root, repository) } else { Vec::new() };
    let faults = source.faults.into_iter().map(Finding::from);
    let mut problems: Vec<Problem> = faults.chain(found).map(|finding| finding.problem(path)).collect();
    problems.sort_by_key(|problem| (problem.line, problem.column));
    problems.truncate(MAX_PROBLEMS);
    Some(Linted { dialect, problems })
}

/// A problem before it knows its file.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) rule: &'static str,
    pub(crate) severity: Severity,
    pub(crate) message: String,
    pub(crate) at: Option<Mark>,
    pub(crate) key: Option<String>,
}

impl From<read::Fault> for Finding {
    fn from(fault: read::Fault) -> Self {
        Self { rule: fault.rule, severity: Severity::Error, message: fault.message, at: fault.at, key: None }
    }
}

impl Finding {
    fn problem(self, path: &str) -> Problem {
        Problem {
            severity: self.severity,
            rule: self.rule.to_owned(),
            message: self.message,
            file: Some(path.to_owned()),
            line: self.at.map(|at| at.line),
            column: self.at.map(|at| at.column),
            key: self.key,
        }
    }
}

#[cfg(test)]
mod tests;
