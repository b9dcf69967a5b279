//! Training configs, trained weights and losses: bytes in, problems and facts out. Knows no build, no database and no Docker.
//!
//! A config is linted only when its content shows which trainer it is for; other files are left alone.

mod dialect;
mod keys;
pub mod mock;
mod own;
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
use own::OwnDialects;
pub use repository::Repository;
pub use rules::data::is_image;
pub use secret::hidden;
pub use settings::{Level, OwnDialect, Settings, SmokeSettings, Wanted};

/// What was found in a training config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linted {
    /// The trainer that the file is for; none for a dialect of the team's own.
    pub dialect: Option<Dialect>,
    /// What is wrong, in the order of the lines.
    pub problems: Vec<Problem>,
    /// What the training takes, in words, as far as the config tells: steps, and the memory of a GPU.
    pub estimate: Option<String>,
}

/// The most problems that are told of one file; who has mended those sees the next.
const MAX_PROBLEMS: usize = 200;

/// Checks the configs of one commit.
#[derive(Debug)]
pub struct Linter<'a> {
    repository: &'a Repository<'a>,
    settings: &'a Settings,
    own: OwnDialects,
    findings: Vec<Finding>,
}

impl<'a> Linter<'a> {
    /// A linter that does as the settings say. Files that configs name are looked for in the repository.
    pub fn new(settings: &'a Settings, repository: &'a Repository<'a>) -> Self {
        let (own, findings) = OwnDialects::new(&settings.dialects, repository);
        Self { repository, settings, own, findings }
    }

    /// What is wrong with the settings themselves, which stand in the file at `path`; told once.
    pub fn take_problems(&mut self, path: &str) -> Vec<Problem> {
        std::mem::take(&mut self.findings).into_iter().map(|finding| finding.problem(path)).collect()
    }

    /// Checks the file at `path` if it is a training config of a dialect that is known.
    pub fn lint(&mut self, path: &str, text: &[u8]) -> Option<Linted> {
        if text.len() > MAX_BYTES {
            return None;
        }
        let text = std::str::from_utf8(text).ok()?;
        let (dialect, found, estimate) = match self.own.check(path, text) {
            Some(found) => (None, found, None),
            None => {
                let (dialect, found, estimate) = of_dialect(path, text, self.repository)?;
                (Some(dialect), found, estimate)
            }
        };
        let mut problems: Vec<Problem> = found.into_iter().map(|finding| finding.problem(path)).collect();
        problems.retain_mut(|problem| match self.settings.rules.get(&problem.rule) {
            None => true,
            Some(Level::Is(severity)) => {
                problem.severity = *severity;
                true
            }
            Some(Level::Off) => false,
        });
        problems.sort_by_key(|problem| (problem.line, problem.column));
        problems.truncate(MAX_PROBLEMS);
        Some(Linted { dialect, problems, estimate })
    }
}

/// What is wrong with a file of a dialect that we know.
fn of_dialect(path: &str, text: &str, repository: &Repository<'_>) -> Option<(Dialect, Vec<Finding>, Option<String>)> {
    let format = read::Format::of(path)?;
    let source = format.read(text);
    let root = source.root.as_ref()?;
    // What cannot be parsed is judged by what could be read: a template of another tool is no config of ours.
    let dialect = Dialect::of(format, root)?;
    let is_whole = !source.faults.iter().any(|fault| fault.fatal);
    let (found, estimate) = if is_whole { rules::check(dialect, root, repository) } else { (Vec::new(), None) };
    Some((dialect, source.faults.into_iter().map(Finding::from).chain(found).collect(), estimate))
}

/// Checks the file at `path` with the usual settings.
pub fn lint(path: &str, text: &[u8], repository: &Repository<'_>) -> Option<Linted> {
    Linter::new(&Settings::default(), repository).lint(path, text)
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
