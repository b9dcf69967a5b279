//! A log as people read it: bytes in, lines for a page or a terminal out. Pure.
//!
//! The bytes are a job's and may be hostile. Of the terminal's language, colours, emphasis, carriage returns and
//! erasing are understood and everything else is dropped; the marks of [`marks`] become folds and durations. Rendering
//! can stop at any line end and go on from the [`Checkpoint`] there.

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
pub use screen::Line;
use screen::Screen;
use style::Style;
pub use terminal::{line_coloured, line_plain};

/// Folds that may be open within each other; further ones are shown unfolded.
const MAX_DEPTH: usize = 8;
/// Timers that may run at once; the oldest gives way.
const MAX_TIMERS: usize = 16;
/// The longest token that is looked at; it has room for the full depth of folds and timers with the longest names.
const MAX_TOKEN: usize = 8 * 1024;

/// What a line that is too long to be shown whole ends with.
const CUT: &str = " … line cut here, the raw log has it whole";

/// How the content of a line is written.
pub type Paint = fn(&Line) -> String;

/// One thing to do to what is shown, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// A line to append.
    Line {
        /// Its number, from 1.
        number: u64,
        /// Its content.
        text: String,
        /// Whether it is the first of what a timer runs for: a command of the job.
        timed: bool,
    },
    /// A fold to begin, with its first line as its title.
    Open {
        /// Its name, of letters, digits, `.`, `_` and `-`.
        name: String,
        /// The line's number.
        number: u64,
        /// The line's content.
        text: String,
    },
    /// The innermost fold ends.
    Close,
    /// The command that stands on a line took this long.
    Took {
        /// The line's number.
        number: u64,
        /// How long.
        took: Duration,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Fold {
    #[serde(rename = "n")]
    name: String,
    /// Whether a line has opened it; before that it is only announced.
    #[serde(rename = "o")]
    opened: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Timer {
    #[serde(rename = "n")]
    id: String,
    /// The line that it times; none until one comes.
    #[serde(rename = "l")]
    line: Option<u64>,
}

/// Where rendering stands at a line end: everything that the following lines depend on.
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
    /// The begin of an attempt's log.
    pub fn begin(attempt: i32) -> Self {
        Self { attempt, ..Self::default() }
    }

    /// The attempt whose log it is.
    pub fn attempt(&self) -> i32 {
        self.attempt
    }

    /// The offset of the next byte in the log.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// How many lines came before.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// As a short text of letters, digits, `-` and `_`.
    pub fn to_token(&self) -> String {
        // Numbers and plain strings always serialise.
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    /// Reads [`Checkpoint::to_token`]'s text; none when it is not one. It comes from outside, so it is checked again.
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

/// Renders one log from a checkpoint on.
pub struct Renderer {
    /// At the last line end.
    committed: Checkpoint,
    /// At the last byte.
    now: Checkpoint,
    screen: Screen,
    paint: Paint,
    /// What the unfinished line has brought so far; given out with the line's end.
    held: Vec<Op>,
    /// A carriage return was read: it counts when something other than a line end follows.
    returned: bool,
    /// The line had a mark, so it is no line of its own when nothing else is on it.
    marked: bool,
}

impl Renderer {
    /// A renderer that goes on from `checkpoint` and writes lines by `paint`.
    pub fn new(checkpoint: Checkpoint, paint: Paint) -> Self {
        let screen = Screen::new(checkpoint.style);
        let now = checkpoint.clone();
        Self { committed: checkpoint, now, screen, paint, held: Vec::new(), returned: false, marked: false }
    }

    /// Where the last complete line ended.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.committed
    }

    /// The offset of the next byte to feed.
    pub fn offset(&self) -> u64 {
        self.now.offset
    }

    /// Takes the next bytes of the log; gives what their complete lines do.
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

    /// The unfinished last line as it looks now; none when there is nothing on it.
    pub fn unfinished(&self) -> Option<String> {
        (!self.screen.is_empty()).then(|| (self.paint)(self.screen.line()))
    }

    /// Ends the log: what its last, unfinished line does.
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
            // Also what was overwritten on it: the next line's mark would bring that back.
            self.screen.clear();
        } else {
            self.push_line();
        }
        self.marked = false;
    }

    /// Takes a mark off the line's end. What stands before it is a line of its own, on its side of the mark.
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
