//! Reader from the bytes of a log to lines, and from lines to a series.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::Series;
use super::parse::Parser;

/// Maximum number of bytes examined per line: progress bars and dicts of losses are far shorter.
const MAX_LINE: usize = 4096;

/// Texts of which a line has to have one to be parsed: of losses, bars, speeds, gradient norms and epochs.
const SIGNS: [&str; 10] = ["oss", "%|", "━", "█", "optimization steps", "it/s", "s/it", "norm", "poch", "rain_runtime"];

/// Reader for a training's log as it grows. The pieces may be cut anywhere, even inside a character. Its state can be
/// stored, to go on from there later.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct LogReader {
    line: Vec<u8>,
    parser: Parser,
}

impl LogReader {
    /// Creates a reader at the start of a log.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the next bytes. A line counts once its end was read, which is a carriage return for progress bars.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while let Some(at) = bytes.iter().position(|b| matches!(b, b'\r' | b'\n')) {
            self.keep(&bytes[..at]);
            self.end_line();
            bytes = &bytes[at + 1..];
        }
        self.keep(bytes);
    }

    /// Ends the log: the last line counts even without a line end.
    pub fn finish(&mut self) {
        self.end_line();
    }

    /// Returns the series so far.
    pub fn series(&self) -> &Series {
        self.parser.series()
    }

    /// Returns a number that grows whenever the series changes, for displays that follow it.
    pub fn version(&self) -> u64 {
        self.parser.version()
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = MAX_LINE - self.line.len();
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn end_line(&mut self) {
        if self.line.is_empty() {
            return;
        }
        let text = String::from_utf8_lossy(&self.line);
        let text = without_escapes(&text);
        // Most lines of a log contain none of these, so they are skipped without parsing.
        if SIGNS.iter().any(|sign| text.contains(sign)) {
            self.parser.line(text.trim());
        }
        self.line.clear();
    }
}

/// Removes a terminal's escape sequences from a text: `ESC [ … letter`, `ESC ] … BEL`, and `ESC` with one character. It
/// removes backspaces too, with which Keras overwrites its bars.
fn without_escapes(text: &str) -> Cow<'_, str> {
    if !text.contains(['\x1b', '\x08']) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\x1b' {
            plain.extend((c != '\x08').then_some(c));
            continue;
        }
        match chars.next() {
            Some('[') => drop(chars.find(|c| ('@'..='~').contains(c))),
            Some(']') => drop(chars.find(|c| *c == '\x07')),
            _ => {}
        }
    }
    Cow::Owned(plain)
}
