//! Traps about heredocs that pass nothing to their command.

use super::Trap;
use super::commands::Command;
use super::shell::is_word;
use crate::domain::{Rule, Severity};

/// Maximum number of heredocs of one command that are checked: each may be as long as the rest of the command.
const MAX_HEREDOCS: usize = 10;

/// Returns a trap for a heredoc without an ending word, without text, or without an end.
pub(super) fn empty_heredoc(command: &Command<'_>) -> Option<Trap> {
    let what = command.text.match_indices("<<").take(MAX_HEREDOCS).find_map(|(at, _)| fault(command.text, at))?;
    let message = format!(
        "{what}. Each item of a list is a separate command: write the command, the text and the ending word as one \
         item with `|`, each on its own line"
    );
    Some(Trap {
        severity: Severity::Warning,
        rule: Rule::EmptyHeredoc,
        message,
        at: command.at,
        key: command.phase.to_owned(),
    })
}

/// Describes the fault of the heredoc that may begin at `at`.
fn fault(text: &str, at: usize) -> Option<String> {
    let (before, rest) = (&text[..at], &text[at + 2..]);
    let line_before = before.rsplit('\n').next().unwrap_or_default();
    // `<<<` is a string, `1 << 3` is arithmetic, and a comment or a quoted text is neither.
    let is_other = before.ends_with('<') || rest.starts_with('<') || line_before.contains("((");
    let is_quoted = line_before.matches('\'').count() % 2 == 1 || line_before.matches('"').count() % 2 == 1;
    if is_other || is_quoted || line_before.trim_start().starts_with('#') {
        return None;
    }
    let (line, body) = rest.split_once('\n').unwrap_or((rest, ""));
    let tabs = line.starts_with('-');
    let target = line.trim_start_matches('-').trim_start();
    let quoted = target.trim_start_matches(['\'', '"', '\\']);
    let word = &quoted[..quoted.find(|c| !is_word(c)).unwrap_or(quoted.len())];
    if target.is_empty() || target.starts_with(['>', '|', ';', '&', '<', ')']) {
        return Some("`<<` has no word behind it that would end the text, so bash stops here".to_owned());
    }
    // Words of other characters are rare, and a number is arithmetic.
    if !word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        return None;
    }
    let ends = |line: &str| (if tabs { line.trim_start_matches('\t') } else { line }) == word;
    match body.lines().position(ends) {
        Some(0) => Some(format!("there is no text between `<<{word}` and `{word}`, so the command reads nothing")),
        Some(_) => None,
        None if body.trim().is_empty() => {
            Some(format!("no text follows `<<{word}` in this command, so it reads nothing"))
        }
        None => Some(format!("the line `{word}` that would end `<<{word}` never comes in this command")),
    }
}
