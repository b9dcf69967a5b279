//! Problems as people like to read them.

use super::table::{Colour, inert, paint};
use crate::domain::{Problem, Severity};

/// The problems by file and line, each once, but for notes: which defaults were taken is a fact for programs and noise
/// for people.
pub(super) fn render(problems: &[Problem], colours: bool) -> String {
    let mut told: Vec<&Problem> = problems.iter().filter(|problem| problem.severity > Severity::Info).collect();
    told.sort_by_key(|problem| (&problem.file, problem.line, problem.column));
    let mut text = String::new();
    // A text that aliases bring to several jobs is at fault several times, and mended once.
    for same in told.chunk_by(|a, b| a.place() == b.place() && a.message == b.message) {
        text.push_str(&line(same[0], same.len(), colours));
    }
    text
}

/// `1 error, 2 warnings`; none when there is neither.
pub(super) fn counted(problems: &[Problem]) -> Option<String> {
    let count = |severity| problems.iter().filter(|problem| problem.severity == severity).count();
    let counts = [(count(Severity::Error), "error"), (count(Severity::Warning), "warning")];
    let words = counts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| number_of(*count, word));
    Some(words.collect::<Vec<_>>().join(", ")).filter(|words| !words.is_empty())
}

/// `1 job`, `2 jobs`.
pub(super) fn number_of(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

/// Whether there is an error, with which nothing is built.
pub(super) fn has_errors(problems: &[Problem]) -> bool {
    problems.iter().any(|problem| problem.severity == Severity::Error)
}

/// One problem with its place; `times` is told when it is there more than once.
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
