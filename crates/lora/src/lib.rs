//! Training configs, trained weights and losses: bytes in, problems and facts out. This module does not know builds,
//! the database or Docker.
//!
//! A config is linted only when its content shows which trainer it is for; other files are left alone.

mod commands;
mod conditions;
mod dialect;
mod keys;
pub mod mock;
mod custom_dialect;
pub mod gates;
pub mod input;
pub mod parameters;
mod read;
mod repository;
mod rules;
mod secret;
pub mod series;
pub mod smoke;
mod settings;
pub mod tracked;
pub mod train;
mod tree;
pub mod verdict;
pub mod weights;
mod write;

use std::cell::OnceCell;
use std::collections::BTreeMap;

use trainyard_base::{domain, yaml};

use crate::domain::{Fix, Problem, Rule, Severity};
use crate::yaml::{MAX_BYTES, Mark, Mend};

pub use commands::may_hold as may_hold_commands;
use custom_dialect::OwnDialects;
pub use dialect::Dialect;
pub use repository::Repository;
use rules::Elsewhere;
pub use rules::data::{Contents, Unusable, check_fetched, is_image};
pub use secret::hidden;
pub use settings::{Change, Level, OwnDialect, Publish, Settings, SmokeSettings, Train, Wanted, When};
use tree::Node;

/// Findings in a training config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linted {
    /// The trainer that the file is for; `None` for a custom dialect.
    pub dialect: Option<Dialect>,
    /// Problems in line order.
    pub problems: Vec<Problem>,
    /// Estimated steps and GPU memory of the training, as text, as far as the config determines them.
    pub estimate: Option<String>,
}

/// Maximum number of problems reported per file. The rest show up once these are fixed.
const MAX_PROBLEMS: usize = 200;

/// Checks the configs of one commit.
#[derive(Debug)]
pub struct Linter<'a> {
    repository: &'a Repository<'a>,
    settings: &'a Settings,
    own: OwnDialects,
    findings: Vec<Finding>,
    /// Keys that command lines in the repository give to configs, by their paths; found when the first config is checked.
    given: OnceCell<BTreeMap<String, Elsewhere>>,
}

impl<'a> Linter<'a> {
    /// Creates a linter with these settings. Files that configs name are looked up in the repository.
    pub fn new(settings: &'a Settings, repository: &'a Repository<'a>) -> Self {
        let (own, findings) = OwnDialects::new(&settings.dialects, repository);
        Self { repository, settings, own, findings, given: OnceCell::new() }
    }

    /// Returns the problems of the settings in the file at `path`, and clears them: a second call returns none.
    pub fn take_problems(&mut self, path: &str) -> Vec<Problem> {
        std::mem::take(&mut self.findings).into_iter().map(|finding| finding.problem(path, "")).collect()
    }

    /// Checks the file at `path` if it is a training config of a known dialect, or has command lines that start a trainer.
    pub fn lint(&mut self, path: &str, text: &[u8]) -> Option<Linted> {
        if text.len() > MAX_BYTES {
            return None;
        }
        let (dialect, found, estimate) = match std::str::from_utf8(text) {
            Ok(text) => match self.own.check(path, text) {
                Some(found) => (None, found, None),
                None if commands::may_hold(path) => (None, commands::problems(path, text, self.repository)?, None),
                None => {
                    let given = self.given.get_or_init(|| commands::given(self.repository));
                    let elsewhere = given.get(path).cloned().unwrap_or_default();
                    let (dialect, found, estimate) = of_dialect(path, text, self.repository, elsewhere)?;
                    (Some(dialect), found, estimate)
                }
            },
            Err(error) => {
                let (dialect, finding) = not_utf8(path, text, error.valid_up_to())?;
                (Some(dialect), vec![finding], None)
            }
        };
        Some(Linted { dialect, problems: self.problems(path, text, found), estimate })
    }

    /// Checks the command lines of a file that start a trainer. Returns `None` if it has none.
    pub fn lint_commands(&self, path: &str, text: &[u8]) -> Option<Vec<Problem>> {
        let found = commands::problems(path, std::str::from_utf8(text).ok()?, self.repository)?;
        Some(self.problems(path, text, found))
    }

    /// Returns the problems of a file as the settings want them.
    fn problems(&self, path: &str, text: &[u8], mut found: Vec<Finding>) -> Vec<Problem> {
        found.retain_mut(|finding| match self.settings.severity(finding.rule, finding.severity) {
            Some(severity) => {
                finding.severity = severity;
                true
            }
            None => false,
        });
        let text = std::str::from_utf8(text).unwrap_or_default();
        let mut problems: Vec<Problem> = found.into_iter().map(|finding| finding.problem(path, text)).collect();
        problems.sort_by_key(|problem| (problem.line, problem.column));
        problems.truncate(MAX_PROBLEMS);
        problems
    }
}

/// Checks a file of a built-in dialect. Returns `None` for other files.
fn of_dialect(
    path: &str,
    text: &str,
    repository: &Repository<'_>,
    elsewhere: Elsewhere,
) -> Option<(Dialect, Vec<Finding>, Option<String>)> {
    let format = read::Format::of(path)?;
    let source = format.read(text);
    let root = source.root.as_ref()?;
    // For a file that does not parse, the part that was read decides: a template of another tool is not a training
    // config.
    let Some(dialect) = Dialect::of(format, root) else { return config_in_list(format, root) };
    let is_whole = !source.faults.iter().any(|fault| fault.fatal);
    let (found, estimate) =
        if is_whole { rules::check(path, dialect, root, repository, elsewhere) } else { (Vec::new(), None) };
    Some((dialect, source.faults.into_iter().map(Finding::from).chain(found).collect(), estimate))
}

/// Reports a config that is the only item of a list. Returns `None` for other files.
fn config_in_list(format: read::Format, root: &Node) -> Option<(Dialect, Vec<Finding>, Option<String>)> {
    let [item] = root.items() else { return None };
    let dialect = Dialect::of(format, item)?;
    let message = "the trainer stops at a config in a list: remove the outer brackets".to_owned();
    let finding = Finding::new(Rule::WrongType, Severity::Error, message, Some(root.at));
    Some((dialect, vec![finding], None))
}

/// Reports a config that is not UTF-8, at its first wrong byte. Returns `None` for other files.
fn not_utf8(path: &str, text: &[u8], valid: usize) -> Option<(Dialect, Finding)> {
    let format = read::Format::of(path)?;
    let root = format.outline(&String::from_utf8_lossy(text))?;
    let dialect = Dialect::of(format, &root)?;
    let line = text[..valid].iter().filter(|byte| **byte == b'\n').count() as u32 + 1;
    let message = "this file is not UTF-8, so the trainer cannot read it: save it as UTF-8".to_owned();
    let at = Some(Mark { file: 0, line, column: 1 });
    Some((dialect, Finding::new(Rule::NotUtf8, Severity::Error, message, at)))
}

/// Checks the file at `path` with the default settings.
pub fn lint(path: &str, text: &[u8], repository: &Repository<'_>) -> Option<Linted> {
    Linter::new(&Settings::default(), repository).lint(path, text)
}

/// A problem without its file path.
#[derive(Debug)]
pub struct Finding {
    pub rule: Rule,
    pub severity: Severity,
    pub message: String,
    pub at: Option<Mark>,
    /// Dotted path of the key.
    pub key: Option<String>,
    pub mend: Option<Mend>,
}

impl From<read::Fault> for Finding {
    fn from(fault: read::Fault) -> Self {
        Self { mend: fault.mend, ..Self::new(fault.rule, Severity::Error, fault.message, fault.at) }
    }
}

impl Finding {
    fn new(rule: Rule, severity: Severity, message: String, at: Option<Mark>) -> Self {
        Self { rule, severity, message, at, key: None, mend: None }
    }

    /// Returns the edit of the file's text that surely mends it.
    pub fn fix(&self, text: &str) -> Option<Fix> {
        self.mend.as_ref()?.fix(text, self.at?)
    }

    fn problem(self, path: &str, text: &str) -> Problem {
        Problem {
            severity: self.severity,
            rule: self.rule.name().to_owned(),
            fix: self.fix(text),
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
