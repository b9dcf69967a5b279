//! The line of a terminal that is being written: text is added, overwritten and erased until the line is complete.

use vte::{Params, Parser, Perform};

use super::marks::{self, Mark};
use super::style::Style;

/// Maximum length of a line; the raw log has the rest. It is far more than people read, and bounds the cost of a
/// hostile line.
const MAX_COLUMNS: usize = 16 * 1024;
/// Maximum number of bytes that are read between two line ends or carriage returns.
const MAX_SEGMENT: usize = 128 * 1024;
const TAB: usize = 8;

/// The line that is being written.
pub(super) struct Screen {
    parser: Parser,
    /// Bytes of this segment so far.
    fed: usize,
    /// Start of a character whose end has not arrived yet.
    cut_off: Vec<u8>,
    line: Line,
}

/// The content of a line.
pub struct Line {
    cells: Vec<(char, Style)>,
    /// Cells as they were before the last carriage return.
    before_return: Vec<(char, Style)>,
    /// Number of columns, from the start of the line, that may have changed since the last carriage return.
    changed: usize,
    cursor: usize,
    style: Style,
    cut: bool,
}

impl Screen {
    /// Creates an empty line whose text begins in this style.
    pub(super) fn new(style: Style) -> Self {
        Self {
            parser: Parser::new(),
            fed: 0,
            cut_off: Vec::new(),
            line: Line { cells: Vec::new(), before_return: Vec::new(), changed: 0, cursor: 0, style, cut: false },
        }
    }

    /// Returns the style that the next character gets.
    pub(super) fn style(&self) -> Style {
        self.line.style
    }

    /// Returns true if nothing is written.
    pub(super) fn is_empty(&self) -> bool {
        self.line.cells.is_empty()
    }

    /// Writes bytes without line ends and carriage returns.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        let room = MAX_SEGMENT.saturating_sub(self.fed);
        let taken = &bytes[..bytes.len().min(room)];
        self.line.cut |= taken.len() < bytes.len();
        self.fed += taken.len();
        let mut bytes = std::mem::take(&mut self.cut_off);
        bytes.extend_from_slice(taken);
        let mut chunks = bytes.utf8_chunks().peekable();
        // The parser decodes UTF-8 itself, but its handling of broken characters depends on where the pieces end.
        while let Some(chunk) = chunks.next() {
            self.parser.advance(&mut self.line, chunk.valid().as_bytes());
            let broken = chunk.invalid();
            let may_go_on = std::str::from_utf8(broken).is_err_and(|error| error.error_len().is_none());
            if chunks.peek().is_none() && may_go_on {
                self.cut_off = broken.to_vec();
            } else if !broken.is_empty() {
                self.write_replacement();
            }
        }
    }

    fn write_replacement(&mut self) {
        self.parser.advance(&mut self.line, "\u{fffd}".as_bytes());
    }

    /// Ends the segment. An escape sequence that is still incomplete is dropped, so that it does not swallow the
    /// following lines.
    pub(super) fn end_segment(&mut self) {
        if !self.cut_off.is_empty() {
            self.cut_off.clear();
            self.write_replacement();
        }
        self.parser = Parser::new();
        self.fed = 0;
    }

    /// Moves the cursor to the line's start. Only changed cells are copied: a progress bar returns millions of times,
    /// and its line may be long.
    pub(super) fn carriage_return(&mut self) {
        let line = &mut self.line;
        line.before_return.truncate(line.cells.len());
        let known = line.before_return.len();
        let changed = line.changed.min(known);
        line.before_return[..changed].copy_from_slice(&line.cells[..changed]);
        line.before_return.extend_from_slice(&line.cells[known..]);
        line.changed = 0;
        line.cursor = 0;
    }

    /// Removes the mark that was written last from the line. A progress bar that the mark has overwritten comes back.
    pub(super) fn take_mark(&mut self) -> Option<Mark> {
        let line = &mut self.line;
        let written = &line.cells[..line.cursor];
        let from = written.len().saturating_sub(marks::LONGEST);
        let end: String = written[from..].iter().map(|(c, _)| c).collect();
        let (bytes_before, mark) = marks::at_end_of(&end)?;
        let keep = from + end[..bytes_before].chars().count();
        if keep == 0 {
            line.cells = std::mem::take(&mut line.before_return);
        } else {
            line.cells.truncate(keep);
        }
        line.before_return.clear();
        line.cursor = line.cells.len();
        Some(mark)
    }

    /// Returns the line as it looks now.
    pub(super) fn line(&self) -> &Line {
        &self.line
    }

    /// Empties the line, as a line end does.
    pub(super) fn clear(&mut self) {
        self.line.cells.clear();
        self.line.before_return.clear();
        self.line.changed = 0;
        self.line.cursor = 0;
        self.line.cut = false;
    }
}

/// Returns true for characters that change the direction of the text around them: with these, a log could show a
/// command that was not run.
pub fn is_deceiving(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

impl Line {
    /// Returns the characters, in runs of one style.
    pub(super) fn runs(&self) -> impl Iterator<Item = (Style, impl Iterator<Item = char>)> {
        let runs = self.cells.chunk_by(|(_, a), (_, b)| a == b);
        runs.map(|run| (run[0].1, run.iter().map(|(c, _)| *c)))
    }

    /// Returns true if characters were left out because the line is too long.
    pub(super) fn is_cut(&self) -> bool {
        self.cut
    }
}

impl Perform for Line {
    fn print(&mut self, c: char) {
        let c = match c {
            c if c.is_control() => return,
            c if is_deceiving(c) => char::REPLACEMENT_CHARACTER,
            c => c,
        };
        if self.cursor >= MAX_COLUMNS {
            self.cut = true;
        } else if let Some(cell) = self.cells.get_mut(self.cursor) {
            *cell = (c, self.style);
            self.cursor += 1;
            self.changed = self.changed.max(self.cursor);
        } else {
            self.cells.push((c, self.style));
            self.cursor = self.cells.len();
            self.changed = self.cursor;
        }
    }

    fn execute(&mut self, byte: u8) {
        match byte {
            0x08 => self.cursor = self.cursor.saturating_sub(1),
            b'\t' => (self.cursor % TAB..TAB).for_each(|_| self.print(' ')),
            _ => {}
        }
    }

    fn csi_dispatch(&mut self, params: &Params, intermediates: &[u8], _ignore: bool, action: char) {
        if !intermediates.is_empty() {
            return;
        }
        let first = params.iter().next().and_then(|param| param.first().copied()).unwrap_or(0);
        match (action, first) {
            ('m', _) => self.style.apply(params),
            ('K', 0) => self.cells.truncate(self.cursor),
            ('K', 1) => {
                let end = (self.cursor + 1).min(self.cells.len());
                self.cells[..end].fill((' ', Style::default()));
                self.changed = self.changed.max(end);
            }
            ('K', 2) => {
                // On a terminal, the next text is written further right; a log reads better without the gap.
                self.cells.clear();
                self.cursor = 0;
            }
            ('G', column) => self.cursor = usize::from(column.max(1) - 1).min(self.cells.len()),
            _ => {}
        }
    }
}
