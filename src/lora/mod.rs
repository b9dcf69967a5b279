//! Training configs and trained weights: bytes in, problems out. Knows no build, no database and no Docker.
//!
//! A config is linted only when its content shows which trainer it is for; other files are left alone.

mod dialect;
mod rules;
pub mod weights;

use crate::domain::{Problem, Severity};
use crate::yaml::{self, Mark};

pub use dialect::Dialect;

/// What was found in a training config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linted {
    /// The trainer that the file is for.
    pub dialect: Dialect,
    /// What is wrong, in the order of the lines.
    pub problems: Vec<Problem>,
}

/// Checks the file at `path` if it is a training config of a dialect we know.
pub fn lint(path: &str, text: &[u8]) -> Option<Linted> {
    if !matches!(path.rsplit_once('.'), Some((_, "yaml" | "yml"))) || text.len() > yaml::MAX_BYTES {
        return None;
    }
    let text = std::str::from_utf8(text).ok()?;
    let (dialect, found) = match yaml::read(text) {
        Ok(document) => {
            let root = document.root.as_ref()?;
            let dialect = Dialect::of(root)?;
            (dialect, rules::check(&document, root))
        }
        Err(error) => {
            // What cannot be parsed is only guessed at by its lines: a template of another tool is no config of ours.
            let dialect = Dialect::of_lines(text)?;
            let message = format!("this is not YAML: {error}");
            (dialect, vec![Finding { rule: "bad-yaml", severity: Severity::Error, message, at: error.at, key: None }])
        }
    };
    let mut problems: Vec<Problem> = found.into_iter().map(|finding| finding.problem(path)).collect();
    problems.sort_by_key(|problem| (problem.line, problem.column));
    Some(Linted { dialect, problems })
}

/// A problem before it knows its file.
#[derive(Debug)]
struct Finding {
    rule: &'static str,
    severity: Severity,
    message: String,
    at: Option<Mark>,
    key: Option<String>,
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
