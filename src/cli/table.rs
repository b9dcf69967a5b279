//! Tables and colours for terminals.

use std::fmt::Write as _;

/// A colour of the terminal's own palette, so that it fits light and dark.
#[derive(Debug, Clone, Copy)]
pub(super) enum Colour {
    Red,
    Yellow,
    Faint,
}

/// A text in a colour, or as it is when `colours` are not wanted.
pub(super) fn paint(text: &str, colour: Colour, colours: bool) -> String {
    let code = match colour {
        Colour::Red => "31;1",
        Colour::Yellow => "33;1",
        Colour::Faint => "2",
    };
    if colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// A text of a repository without what would steer the terminal.
pub(super) fn inert(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

/// Rows under a head, in columns as wide as their widest cell.
#[derive(Debug)]
pub(super) struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(head: &[&str]) -> Self {
        Self { head: head.iter().map(ToString::to_string).collect(), rows: Vec::new() }
    }

    pub(super) fn push(&mut self, row: Vec<String>) {
        self.rows.push(row.iter().map(|cell| inert(cell)).collect());
    }

    pub(super) fn shown(&self, colours: bool) -> String {
        let all = || std::iter::once(&self.head).chain(&self.rows);
        let widths: Vec<usize> = (0..self.head.len())
            .map(|column| all().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0))
            .collect();
        let mut text = String::new();
        for (number, row) in all().enumerate() {
            let cells = row.iter().zip(&widths).map(|(cell, width)| {
                let room = " ".repeat(width - cell.chars().count());
                format!("{cell}{room}")
            });
            let line = cells.collect::<Vec<_>>().join("  ");
            let line = line.trim_end();
            // Writing to a String cannot fail.
            let _ =
                writeln!(text, "{}", if number == 0 { paint(line, Colour::Faint, colours) } else { line.to_owned() });
        }
        text
    }
}
