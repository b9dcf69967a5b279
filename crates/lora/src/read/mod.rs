//! Readers from text to a tree, one for each format that trainers read.

mod json;
mod outline;
mod toml;
mod yaml;

use std::cell::Cell;

use super::tree::{Node, Value};
use crate::domain::Rule;
use crate::yaml::Mark;
use crate::yaml::Mend;

/// The formats of training configs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Yaml,
    Toml,
    Json,
}

/// The result of reading a file.
#[derive(Debug)]
pub(super) struct Source {
    /// The tree. For a file that does not parse: the part that is certain.
    pub(super) root: Option<Node>,
    /// Violations of the file's format.
    pub(super) faults: Vec<Fault>,
}

/// A violation of the file's format.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) rule: Rule,
    pub(super) message: String,
    pub(super) at: Option<Mark>,
    /// True when the trainer's loader stops here. A duplicate key does not stop every loader.
    pub(super) fatal: bool,
    pub(super) mend: Option<Mend>,
}

impl Fault {
    fn fatal(rule: Rule, message: String, at: Option<Mark>) -> Self {
        Self { rule, message, at, fatal: true, mend: None }
    }

    /// Creates the fault of a key that is given twice, which stops no loader of YAML or JSON.
    fn twice(key: &str, at: Mark) -> Self {
        let message = format!("the trainer reads only the last {key}, which is given twice: remove one");
        Self { rule: Rule::DuplicateKey, message, at: Some(at), fatal: false, mend: None }
    }
}

impl Format {
    /// Returns the format by the extension of the file name.
    pub(super) fn of(path: &str) -> Option<Self> {
        match path.rsplit_once('.')?.1 {
            "yaml" | "yml" => Some(Self::Yaml),
            "toml" => Some(Self::Toml),
            "json" => Some(Self::Json),
            _ => None,
        }
    }

    /// Returns the keys that the text seems to have, two levels deep.
    pub(super) fn outline(self, text: &str) -> Option<Node> {
        outline::read(self, text)
    }

    /// Returns the file name extension.
    pub(super) fn extension(self) -> &'static str {
        match self {
            Self::Yaml => "yaml",
            Self::Toml => "toml",
            Self::Json => "json",
        }
    }

    pub(super) fn read(self, text: &str) -> Source {
        // PyYAML skips a byte order mark. The parsers that Python has for TOML and JSON stop at it.
        let marked = text.strip_prefix('\u{feff}');
        let text = marked.unwrap_or(text);
        let mut source = match self {
            Self::Yaml => yaml::read(text),
            Self::Toml => toml::read(text),
            Self::Json => json::read(text),
        };
        if marked.is_some() && self != Self::Yaml {
            let message = "this file begins with a byte order mark, at which the trainer stops: save it without one";
            let at = Some(Mark { file: 0, line: 1, column: 1 });
            let mend = Some(Mend::Remove { text: "\u{feff}" });
            let message = message.to_owned();
            source.faults.push(Fault { rule: Rule::ByteOrderMark, message, at, fatal: true, mend });
        }
        // The part before a fault may be too short to tell the dialect.
        if source.faults.iter().any(|fault| fault.fatal) {
            source.root = outline::joined(source.root, self.outline(text));
        }
        if let Some(at) = source.root.as_ref().and_then(nul) {
            let message = "a text has the character NUL, which no path and no variable may have: remove it".to_owned();
            source.faults.push(Fault::fatal(Rule::Nul, message, Some(at)));
        }
        source
    }
}

/// Returns the place of the first key or value with the character NUL.
fn nul(node: &Node) -> Option<Mark> {
    match &node.value {
        Value::Text { text, .. } => text.contains('\0').then_some(node.at),
        Value::List(items) => items.iter().find_map(nul),
        Value::Map(entries) => {
            entries.iter().find_map(|entry| if entry.key.contains('\0') { Some(entry.at) } else { nul(&entry.node) })
        }
        Value::Null | Value::Bool(_) | Value::Number { .. } => None,
    }
}

/// Positions of byte offsets. The line starts are found once; look-ups may come in any order.
struct Places<'a> {
    text: &'a str,
    starts: Vec<usize>,
    /// The offset of the last look-up with its mark. A later place on that line is counted from there, so that a file
    /// without line breaks does not cost the square of its length.
    last: Cell<(usize, Mark)>,
}

impl<'a> Places<'a> {
    fn of(text: &'a str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { text, starts: std::iter::once(0).chain(breaks).collect(), last: Cell::default() }
    }

    fn mark(&self, offset: usize) -> Mark {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = Mark { file: 0, line: line as u32, column: 1 };
        let (from, known) = match self.last.get() {
            (last, mark) if mark.line == start.line && last <= offset => (last, mark),
            _ => (self.starts[line - 1], start),
        };
        let Some(before) = self.text.get(from..offset) else { return known };
        let mark = Mark { column: known.column + before.chars().count() as u32, ..known };
        self.last.set((offset, mark));
        mark
    }
}
