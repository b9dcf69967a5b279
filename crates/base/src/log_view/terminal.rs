//! Lines for a terminal: colours and emphasis, and no other control sequences.

use super::CUT;
use super::screen::Line;

/// Renders a line's content with its colours.
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

/// Renders a line's content without colours.
pub fn line_plain(line: &Line) -> String {
    let mut text: String = line.runs().flat_map(|(_, run)| run).collect();
    if line.is_cut() {
        text.push_str(CUT);
    }
    text
}
