//! The view of a log for people: bytes in, lines for a page or a terminal out. Pure.
//!
//! The bytes come from a job and may be hostile. Of the terminal's language, colours, emphasis, carriage returns and
//! erasing are understood; everything else is dropped. The marks of [`marks`] become folds and durations. Rendering can
//! stop at any line end and go on from the [`Checkpoint`] there.

mod html;
mod marks;
mod screen;
mod style;
mod terminal;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

pub use html::{event_html, line_html, page_html};
use marks::Mark;
use screen::Screen;
pub use screen::{Line, is_deceiving};
use style::Style;
pub use terminal::{line_coloured, line_plain};

/// Maximum number of folds that may be open within each other; further ones are shown unfolded.
const MAX_DEPTH: usize = 8;
/// Maximum number of running timers; the oldest makes room for a new one.
const MAX_TIMERS: usize = 16;
/// Maximum length of a token that is read. It has room for the full depth of folds and timers with the longest names.
const MAX_TOKEN: usize = 8 * 1024;

/// End of a line that is too long to be shown completely.
const CUT: &str = " … line cut here, the raw log has it whole";

/// Function that renders the content of a line.
pub type Paint = fn(&Line) -> String;

/// A change to the shown log. Changes are applied in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Appends a line.
    Line {
        /// Number of the line, from 1.
        number: u64,
        text: String,
        /// True when this is the first line that a timer measures: a command of the job.
        timed: bool,
    },
    /// Begins a fold. Its first line is its title.
    Open {
        /// Name of the fold, of letters, digits, `.`, `_` and `-`.
        name: String,
        /// Number of the title's line.
        number: u64,
        /// Content of the title's line.
        text: String,
    },
    /// Ends the innermost fold.
    Close,
    /// Sets how long the command on a line took.
    Took {
        /// Number of the command's line.
        number: u64,
        took: Duration,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Fold {
    #[serde(rename = "n")]
    name: String,
    /// True when a line has opened the fold; before that it is only announced.
    #[serde(rename = "o")]
    opened: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Timer {
    #[serde(rename = "n")]
    id: String,
    /// The line that the timer measures; `None` until a line comes.
    #[serde(rename = "l")]
    line: Option<u64>,
}

/// State of the rendering at a line end: everything that the following lines depend on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Checkpoint {
    #[serde(rename = "a")]
    attempt: i32,
    #[serde(rename = "o")]
    offset: u64,
    #[serde(rename = "l")]
    lines: u64,
    #[serde(rename = "s", default)]
    style: Style,
    #[serde(rename = "f", default, skip_serializing_if = "Vec::is_empty")]
    folds: Vec<Fold>,
    #[serde(rename = "t", default, skip_serializing_if = "Vec::is_empty")]
    timers: Vec<Timer>,
}

impl Checkpoint {
    /// Returns the start of an attempt's log.
    pub fn begin(attempt: i32) -> Self {
        Self { attempt, ..Self::default() }
    }

    /// Returns the attempt that the log belongs to.
    pub fn attempt(&self) -> i32 {
        self.attempt
    }

    /// Returns the offset of the next byte in the log.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the number of lines before this place.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// Encodes the checkpoint as a short text of letters, digits, `-` and `_`.
    pub fn to_token(&self) -> String {
        // Numbers and plain strings always serialise.
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    /// Decodes the text of [`Checkpoint::to_token`], or returns `None` for any other text. The text comes from outside,
    /// so its content is checked again.
    pub fn from_token(token: &str) -> Option<Self> {
        if token.len() > MAX_TOKEN {
            return None;
        }
        let json = URL_SAFE_NO_PAD.decode(token).ok()?;
        let read: Self = serde_json::from_slice(&json).ok()?;
        let sound = read.folds.len() <= MAX_DEPTH
            && read.timers.len() <= MAX_TIMERS
            && read.folds.iter().all(|fold| marks::is_name(&fold.name))
            && read.timers.iter().all(|timer| marks::is_name(&timer.id))
            && i64::try_from(read.offset).is_ok()
            && i64::try_from(read.lines).is_ok();
        sound.then_some(read)
    }
}

/// Renderer of one log, from a checkpoint on.
pub struct Renderer {
    /// State at the last line end.
    committed: Checkpoint,
    /// State at the last byte.
    now: Checkpoint,
    screen: Screen,
    paint: Paint,
    /// Ops of the unfinished line so far. They are returned at the line's end.
    held: Vec<Op>,
    /// True when a carriage return was read. It counts when something other than a line end follows.
    returned: bool,
    /// True when the line had a mark, so that it is not shown as a line when nothing else is on it.
    marked: bool,
}

impl Renderer {
    /// Creates a renderer that goes on from `checkpoint` and renders lines with `paint`.
    pub fn new(checkpoint: Checkpoint, paint: Paint) -> Self {
        let screen = Screen::new(checkpoint.style);
        let now = checkpoint.clone();
        Self { committed: checkpoint, now, screen, paint, held: Vec::new(), returned: false, marked: false }
    }

    /// Returns the state at the end of the last complete line.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.committed
    }

    /// Returns the offset of the next byte to feed.
    pub fn offset(&self) -> u64 {
        self.now.offset
    }

    /// Reads the next bytes of the log. Returns the ops of their complete lines.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Op> {
        let Some(last) = bytes.iter().rposition(|b| *b == b'\n') else {
            self.consume(bytes);
            return Vec::new();
        };
        let (lines, rest) = bytes.split_at(last + 1);
        self.consume(lines);
        self.committed = self.now.clone();
        let ops = std::mem::take(&mut self.held);
        self.consume(rest);
        ops
    }

    /// Returns the unfinished last line as it looks now, or `None` when nothing is on it.
    pub fn unfinished(&self) -> Option<String> {
        (!self.screen.is_empty()).then(|| (self.paint)(self.screen.line()))
    }

    /// Ends the log. Returns the ops of its last, unfinished line.
    pub fn finish(mut self) -> Vec<Op> {
        self.screen.end_segment();
        self.apply_mark();
        if !self.screen.is_empty() {
            self.push_line();
        }
        self.held
    }

    fn consume(&mut self, mut bytes: &[u8]) {
        self.now.offset += bytes.len() as u64;
        while let Some(at) = bytes.iter().position(|b| matches!(b, b'\r' | b'\n')) {
            self.write(&bytes[..at]);
            self.screen.end_segment();
            if bytes[at] == b'\n' {
                self.line_end();
            } else if !self.returned {
                self.returned = !self.apply_mark();
            }
            bytes = &bytes[at + 1..];
        }
        self.write(bytes);
        self.now.style = self.screen.style();
    }

    fn write(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            if std::mem::take(&mut self.returned) {
                self.screen.carriage_return();
            }
            self.screen.write(bytes);
        }
    }

    fn line_end(&mut self) {
        self.returned = false;
        self.apply_mark();
        if self.marked && self.screen.is_empty() {
            // Text that was overwritten on the line is cleared, too: otherwise the next line's mark would bring it
            // back.
            self.screen.clear();
        } else {
            self.push_line();
        }
        self.marked = false;
    }

    /// Removes a mark from the line's end. Text before the mark becomes a separate line, on its side of the mark.
    fn apply_mark(&mut self) -> bool {
        let Some(mark) = self.screen.take_mark() else { return false };
        if !self.screen.is_empty() {
            self.push_line();
        }
        self.marked = true;
        match mark {
            Mark::FoldStart(name) if self.now.folds.len() < MAX_DEPTH => {
                self.now.folds.push(Fold { name, opened: false });
            }
            Mark::FoldStart(_) => {}
            Mark::FoldEnd(name) => self.end_fold(&name),
            Mark::TimeStart(id) => {
                if self.now.timers.len() == MAX_TIMERS {
                    self.now.timers.remove(0);
                }
                self.now.timers.push(Timer { id, line: None });
            }
            Mark::TimeEnd(id, took) => self.end_timer(&id, took),
        }
        true
    }

    fn end_fold(&mut self, name: &str) {
        let Some(from) = self.now.folds.iter().rposition(|fold| fold.name == name) else { return };
        for fold in self.now.folds.drain(from..) {
            if fold.opened {
                self.held.push(Op::Close);
            }
        }
    }

    fn end_timer(&mut self, id: &str, took: Duration) {
        let Some(at) = self.now.timers.iter().rposition(|timer| timer.id == id) else { return };
        if let Some(number) = self.now.timers.remove(at).line {
            self.held.push(Op::Took { number, took });
        }
    }

    fn push_line(&mut self) {
        self.now.lines = self.now.lines.saturating_add(1);
        let number = self.now.lines;
        let text = (self.paint)(self.screen.line());
        self.screen.clear();
        let mut timed = false;
        for timer in self.now.timers.iter_mut().filter(|timer| timer.line.is_none()) {
            timer.line = Some(number);
            timed = true;
        }
        let op = match self.now.folds.iter_mut().find(|fold| !fold.opened) {
            Some(fold) => {
                fold.opened = true;
                Op::Open { name: fold.name.clone(), number, text }
            }
            None => Op::Line { number, text, timed },
        };
        self.held.push(op);
    }
}

#[cfg(test)]
mod tests;
