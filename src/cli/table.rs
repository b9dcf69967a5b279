//! Tables and colours for terminals.

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::os::fd::AsFd;

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::log_view::is_deceiving;

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

/// Removes control characters from the text of a repository or a server: they could steer the terminal, or change the
/// direction of the text around them.
pub(super) fn inert(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() && !is_deceiving(*c)).collect()
}

/// Cuts a text to a number of columns, with an ellipsis where it was cut.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut room = width.saturating_sub(1);
    let fits = |c: &char| {
        let columns = c.width().unwrap_or(0);
        let fits = columns <= room;
        room = room.saturating_sub(columns);
        fits
    };
    text.chars().take_while(fits).chain(['…']).collect()
}

/// Rows under a head, in columns as wide as their widest cell.
#[derive(Debug)]
pub(super) struct Table {
    head: Vec<String>,
    /// Number of the first columns, which are never cut.
    firm: usize,
    rows: Vec<Vec<(String, Option<Colour>)>>,
}

impl Table {
    pub(super) fn new(head: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { head: head.into_iter().map(Into::into).collect(), firm: 0, rows: Vec::new() }
    }

    /// Keeps the first columns from being cut.
    pub(super) fn firm(mut self, columns: usize) -> Self {
        self.firm = columns;
        self
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
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
                let room = if place == last { 0 } else { width.saturating_sub(cell.width()) + 2 };
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
            cells.chain(self.head.get(column)).map(|cell| cell.width()).max().unwrap_or(0)
        };
        let mut widths: Vec<usize> = (0..self.head.len()).map(widest).collect();
        let between = 2 * widths.len().saturating_sub(1);
        while let Some(bound) = bound
            && widths.iter().sum::<usize>() + between > bound
            && let Some(widest) = widths.iter_mut().skip(self.firm).max_by_key(|width| **width)
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
        let mut table = Table::new(["STATE", "WHAT"]).firm(1);
        table.push(vec!["a long state".to_owned(), "A".repeat(40)]);
        assert_eq!(table.render(false, Some(22)), "STATE         WHAT\na long state  AAAAAAA…\n");
    }

    #[test]
    fn wide_characters_take_two_columns() {
        let mut table = Table::new(["WHAT", "N"]);
        table.push(vec!["训练风格模型".to_owned(), "1".to_owned()]);
        table.push(vec!["style".to_owned(), "2".to_owned()]);
        assert_eq!(table.render(false, None), "WHAT          N\n训练风格模型  1\nstyle         2\n");
        assert_eq!(table.render(false, Some(11)), "WHAT      N\n训练风…   1\nstyle     2\n");
    }
}
