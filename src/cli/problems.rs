//! Problems, rendered for people.

use super::table::{Colour, inert, paint};
use crate::domain::{Problem, Severity};

/// Renders the problems by file and line, each once. Notes are left out: they list the defaults that were taken, which
/// programs need and people do not.
pub(super) fn render(problems: &[Problem], colours: bool) -> String {
    let mut told: Vec<&Problem> = problems.iter().filter(|problem| problem.severity > Severity::Info).collect();
    told.sort_by_key(|problem| (&problem.file, problem.line, problem.column));
    let mut text = String::new();
    // A value that aliases bring to several jobs has the same problem several times, but is mended once.
    for same in told.chunk_by(|a, b| a.place() == b.place() && a.message == b.message) {
        text.push_str(&line(same[0], same.len(), colours));
    }
    text
}

/// Returns `1 error, 2 warnings`, or `None` when there is neither.
pub(super) fn counted(problems: &[Problem]) -> Option<String> {
    let count = |severity| problems.iter().filter(|problem| problem.severity == severity).count();
    let counts = [(count(Severity::Error), "error"), (count(Severity::Warning), "warning")];
    let words = counts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| number_of(*count, word));
    Some(words.collect::<Vec<_>>().join(", ")).filter(|words| !words.is_empty())
}

/// Returns `1 job`, `2 jobs`.
pub(super) fn number_of(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

/// Returns true if there is an error. A file with errors is not built.
pub(super) fn has_errors(problems: &[Problem]) -> bool {
    problems.iter().any(|problem| problem.severity == Severity::Error)
}

/// Renders a problem with its place, and with `times` if it occurs more than once.
pub(super) fn line(problem: &Problem, times: usize, colours: bool) -> String {
    let (word, colour) = match problem.severity {
        Severity::Error => ("error", Colour::Red),
        Severity::Warning => ("warning", Colour::Yellow),
        Severity::Info => ("note", Colour::Faint),
    };
    let place = inert(&problem.place());
    let place = if place.is_empty() { place } else { paint(&format!("{place}:"), Colour::Bold, colours) + " " };
    let times = if times == 1 { String::new() } else { format!(" ({times} times)") };
    let rule = paint(&format!("[{}]", problem.rule), Colour::Faint, colours);
    format!("{place}{}: {}{times} {rule}\n", paint(word, colour, colours), inert(&problem.message))
}
