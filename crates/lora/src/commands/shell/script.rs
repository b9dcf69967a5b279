//! The text of a shell script, with the place of each part in the file that holds it.

use std::cell::Cell;

use crate::yaml::Mark;

/// Stands for a part of the text that only the job knows, such as a placeholder of a page.
pub(in crate::commands) const UNKNOWN: char = '\u{e000}';

/// The shell that a script is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::commands) enum Syntax {
    Posix,
    /// `cmd.exe`: a caret escapes, and a backslash does not.
    Batch,
    /// A backtick escapes, and a backslash does not.
    PowerShell,
}

impl Syntax {
    pub(super) fn escape(self) -> char {
        match self {
            Self::Posix => '\\',
            Self::Batch => '^',
            Self::PowerShell => '`',
        }
    }
}

/// A script that is part of a file.
#[derive(Debug)]
pub(in crate::commands) struct Script {
    pub(super) text: String,
    pub(super) syntax: Syntax,
    segments: Vec<Segment>,
    /// The offset of the last look-up with its mark, so that a long line is not counted from its start each time.
    last: Cell<(usize, Mark)>,
}

/// A part of the text that lies on one line of the file.
#[derive(Debug)]
struct Segment {
    start: usize,
    at: Mark,
    /// True when all of the part stands for one place in the file.
    is_point: bool,
}

impl Script {
    pub(in crate::commands) fn new(syntax: Syntax) -> Self {
        Self { text: String::new(), syntax, segments: Vec::new(), last: Cell::default() }
    }

    /// Adds a part that lies on one line of the file, from this place on.
    pub(in crate::commands) fn push(&mut self, text: &str, line: u32, column: u32) {
        self.segments.push(Segment { start: self.text.len(), at: mark(line, column), is_point: false });
        self.text.push_str(text);
    }

    /// Adds a part that stands for one place in the file.
    pub(in crate::commands) fn push_at(&mut self, text: &str, at: Mark) {
        self.segments.push(Segment { start: self.text.len(), at, is_point: true });
        self.text.push_str(text);
    }

    /// Adds lines of the file from its line `first` on.
    pub(in crate::commands) fn push_lines(&mut self, text: &str, first: u32) {
        for (line, part) in (first..).zip(text.split_inclusive('\n')) {
            self.push(part, line, 1);
        }
    }

    /// Returns the length of the text in bytes.
    pub(in crate::commands) fn len(&self) -> usize {
        self.text.len()
    }

    /// Returns the place of a byte in the file.
    pub(super) fn mark(&self, offset: usize) -> Mark {
        let index = self.segments.partition_point(|segment| segment.start <= offset);
        let Some(segment) = index.checked_sub(1).and_then(|index| self.segments.get(index)) else {
            return mark(1, 1);
        };
        if segment.is_point {
            return segment.at;
        }
        let (from, known) = match self.last.get() {
            (last, mark) if mark.line > 0 && last <= offset && last >= segment.start => (last, mark),
            _ => (segment.start, segment.at),
        };
        let Some(before) = self.text.get(from..offset) else { return known };
        let mark = Mark { column: known.column + before.chars().count() as u32, ..known };
        self.last.set((offset, mark));
        mark
    }
}

fn mark(line: u32, column: u32) -> Mark {
    Mark { file: 0, line, column }
}
