//! Lines for a terminal: colours and emphasis, and nothing else that a terminal could be told.

use super::CUT;
use super::screen::Line;

const ESCAPE: char = '\u{1b}';

/// A line's content with its colours.
pub fn line_coloured(line: &Line) -> String {
    let mut text = String::new();
    for (style, run) in line.runs() {
        let sgr = style.sgr();
        if sgr.is_empty() {
            text.extend(run);
        } else {
            text.push_str(&format!("\x1b[{sgr}m"));
            text.extend(run);
            text.push_str("\x1b[0m");
        }
    }
    if line.is_cut() {
        text.push_str(&format!("\x1b[2m{CUT}\x1b[0m"));
    }
    text
}

/// A line's content without colours.
pub fn line_plain(line: &Line) -> String {
    let mut text: String = line.runs().flat_map(|(_, run)| run).collect();
    if line.is_cut() {
        text.push_str(CUT);
    }
    text
}

/// As much of a line, as one of the functions above writes it, as fits into so many columns.
pub fn cut_to(line: &str, columns: usize) -> String {
    let mut text = String::new();
    let mut used = 0;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c == ESCAPE {
            // A colour takes no room, and one that was begun must be ended too.
            text.push(c);
            text.extend(chars.by_ref().take_while(|c| *c != 'm'));
            text.push('m');
            continue;
        }
        // Whatever may be wide counts as wide: a line that is too short does no harm.
        used += if c >= '\u{1100}' { 2 } else { 1 };
        if used <= columns {
            text.push(c);
        }
    }
    text
}
