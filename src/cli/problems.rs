//! Problems as people like to read them.

use super::table::{Colour, inert, paint};
use crate::domain::{Problem, Severity};

/// The problems, each on a line, but for notes: which defaults were taken is a fact for programs and noise for people.
pub(super) fn shown(problems: &[Problem], colours: bool) -> String {
    problems.iter().filter(|problem| problem.severity > Severity::Info).map(|problem| line(problem, colours)).collect()
}

/// Whether there is an error, with which nothing is built.
pub(super) fn has_errors(problems: &[Problem]) -> bool {
    problems.iter().any(|problem| problem.severity == Severity::Error)
}

fn line(problem: &Problem, colours: bool) -> String {
    let (word, colour) = match problem.severity {
        Severity::Error => ("error", Colour::Red),
        Severity::Warning => ("warning", Colour::Yellow),
        Severity::Info => ("note", Colour::Faint),
    };
    let place = problem.place();
    let place = if place.is_empty() { String::new() } else { format!("{place}: ") };
    format!("{}{}: {} [{}]\n", inert(&place), paint(word, colour, colours), inert(&problem.message), problem.rule)
}
