//! Tables and colours for terminals.

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::os::fd::AsFd;

/// Minimum width of a column when the table is cut to the terminal's width.
const NARROWEST: usize = 8;

/// A colour of the terminal's own palette, which suits both light and dark themes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colour {
    Red,
    Green,
    Yellow,
    Bold,
    Faint,
}

/// Returns true if a stream is a terminal and the user has not disabled colours (<https://no-color.org>).
pub(super) fn wants_colours(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Returns the number of a stream's columns, or `None` if it is not a terminal.
pub(super) fn width_of(stream: &(impl IsTerminal + AsFd)) -> Option<usize> {
    if !stream.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// Paints a text in a colour, or returns it unchanged when `colours` is false.
pub(super) fn paint(text: &str, colour: Colour, colours: bool) -> String {
    let code = match colour {
        Colour::Red => "31;1",
        Colour::Green => "32;1",
        Colour::Yellow => "33;1",
        Colour::Bold => "1",
        Colour::Faint => "2",
    };
    if colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// Removes control characters from a repository's text: they could steer the terminal.
pub(super) fn inert(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

/// Cuts a text to a number of characters, with an ellipsis where it was cut.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// Rows under a head, in columns as wide as their widest cell.
#[derive(Debug)]
pub(super) struct Table {
    head: Vec<String>,
    rows: Vec<Vec<(String, Option<Colour>)>>,
}

impl Table {
    pub(super) fn new(head: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { head: head.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    pub(super) fn push(&mut self, row: Vec<String>) {
        self.push_painted(row.into_iter().map(|cell| (cell, None)).collect());
    }

    /// Adds a row with colours for some cells.
    pub(super) fn push_painted(&mut self, row: Vec<(String, Option<Colour>)>) {
        self.rows.push(row.into_iter().map(|(cell, colour)| (inert(&cell), colour)).collect());
    }

    /// Renders the table, cut to `width` columns if there is such a bound.
    pub(super) fn render(&self, colours: bool, width: Option<usize>) -> String {
        let widths = self.widths(width);
        let head = self.head.iter().map(|cell| (cell.clone(), Some(Colour::Faint))).collect();
        let mut text = String::new();
        for row in std::iter::once(&head).chain(&self.rows) {
            let last = row.iter().rposition(|(cell, _)| !cell.is_empty()).unwrap_or(0);
            for (place, ((cell, colour), width)) in row.iter().zip(&widths).enumerate().take(last + 1) {
                let cell = cut(cell, *width);
                let room = if place == last { 0 } else { width - cell.chars().count() + 2 };
                let cell = colour.map_or_else(|| cell.clone(), |colour| paint(&cell, colour, colours));
                // Writing to a String cannot fail.
                let _ = write!(text, "{cell}{:room$}", "");
            }
            text.push('\n');
        }
        text
    }

    /// Returns the width of each column: that of its widest cell. If the sum exceeds the bound, the widest columns are
    /// narrowed.
    fn widths(&self, bound: Option<usize>) -> Vec<usize> {
        let widest = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|(cell, _)| cell);
            cells.chain(self.head.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let mut widths: Vec<usize> = (0..self.head.len()).map(widest).collect();
        let between = 2 * widths.len().saturating_sub(1);
        while let Some(bound) = bound
            && widths.iter().sum::<usize>() + between > bound
            && let Some(widest) = widths.iter_mut().max_by_key(|width| **width)
            && *widest > NARROWEST
        {
            *widest -= 1;
        }
        widths
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_widest_column_gives_way_to_the_terminal() {
        let mut table = Table::new(["JOB", "WITH"]);
        table.push(vec!["1".to_owned(), "A".repeat(40)]);
        table.push(vec!["12".to_owned(), "é\x1b[31m".to_owned()]);
        let shown = table.render(false, Some(20));
        assert_eq!(shown, "JOB  WITH\n1    AAAAAAAAAAAAAA…\n12   é[31m\n");
        assert!(table.render(false, None).contains(&"A".repeat(40)));
    }
}
