//! YAML as a tree that keeps what its readers need: scalars as they are written, the order of keys, and the line and
//! column of every key and value.
//!
//! The meaning of a plain `no` or `3.10` depends on the program that reads the file, so this layer does not decide it.
//! The layer knows nothing of Travis or of trainers. It never builds more than [`MAX_NODES`] nodes, whatever the text.

mod mend;
mod read;
mod scalar;

pub use mend::Mend;
pub use read::{Document, Duplicate, Error, MAX_BYTES, MAX_DEPTH, MAX_NODES, read, read_as};
pub use scalar::{Boolean, is_integer, is_null};

/// A place in the text. Lines and columns count from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct Mark {
    /// Number of the text among several that are merged, as passed to [`read_as`]; 0 for a single text.
    pub file: u16,
    pub line: u32,
    pub column: u32,
}

impl Mark {
    /// Returns the byte of the text at which this place is.
    pub fn offset(self, text: &str) -> Option<usize> {
        let before = self.line.checked_sub(1)? as usize;
        let start = text.split_inclusive('\n').take(before).map(str::len).sum();
        let line = text.get(start..)?.split('\n').next()?;
        let column = self.column.checked_sub(1)? as usize;
        let mut ends = line.char_indices().map(|(at, _)| at).chain(std::iter::once(line.len()));
        Some(start + ends.nth(column)?)
    }
}

/// A value and the place where it is written.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub data: Data,
    /// Start of the value. A value that came in through an alias keeps the place of its definition.
    pub at: Mark,
    /// True when the value carries an anchor (`&name`).
    pub anchored: bool,
    /// Weight of the value against the budget: its nodes, itself included, and their texts.
    size: usize,
    /// Number of levels of collections in the value, itself included.
    height: usize,
}

/// Content of a node.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// An alias without an anchor.
    Unresolved,
    /// A scalar, with escapes and folding resolved.
    Scalar {
        text: String,
        /// True when the scalar is written without quotes, not as a block, and not tagged `!!str`. Only then can it
        /// stand for something other than a string.
        plain: bool,
    },
    /// A sequence.
    Seq(Vec<Node>),
    /// A mapping in the order of the text, with merge keys resolved and each key once.
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub key: String,
    /// Place where the key is written.
    pub at: Mark,
    pub value: Node,
}

impl Node {
    /// Creates a node from a value and the place where it is written.
    pub fn new(data: Data, at: Mark, anchored: bool) -> Self {
        let (size, height) = match &data {
            Data::Unresolved => (0, 0),
            // Long texts weigh more, so that aliases of a long text cannot fill the memory.
            Data::Scalar { text, .. } => (text.len() / 64, 0),
            Data::Seq(items) => (items.iter().map(|n| n.size).sum(), tallest(items.iter())),
            Data::Map(entries) => (
                entries.iter().map(|e| e.value.size).sum::<usize>() + entries.len(),
                tallest(entries.iter().map(|e| &e.value)),
            ),
        };
        Self { data, at, anchored, size: size + 1, height }
    }

    /// Returns the value's weight against [`MAX_NODES`].
    pub fn weight(&self) -> usize {
        self.size
    }

    /// Returns the entries of a mapping; empty for anything else.
    pub fn entries(&self) -> &[Entry] {
        match &self.data {
            Data::Map(entries) => entries,
            _ => &[],
        }
    }

    /// Returns the items of a sequence; empty for anything else.
    pub fn items(&self) -> &[Node] {
        match &self.data {
            Data::Seq(items) => items,
            _ => &[],
        }
    }

    /// Returns the entry of a mapping with this key.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// Removes the entry with this key from a mapping and returns it.
    pub fn take(&mut self, key: &str) -> Option<Entry> {
        let Data::Map(entries) = &mut self.data else { return None };
        let at = entries.iter().position(|entry| entry.key == key)?;
        let taken = entries.remove(at);
        self.size -= taken.value.size + 1;
        Some(taken)
    }

    /// Returns a scalar's text.
    pub fn text(&self) -> Option<&str> {
        match &self.data {
            Data::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Returns true for a null: an empty plain scalar, `~`, `null`, or an alias without an anchor.
    pub fn is_null(&self) -> bool {
        match &self.data {
            Data::Unresolved => true,
            Data::Scalar { text, plain } => *plain && is_null(text),
            Data::Seq(_) | Data::Map(_) => false,
        }
    }
}

fn tallest<'a>(nodes: impl Iterator<Item = &'a Node>) -> usize {
    nodes.map(|node| node.height).max().unwrap_or(0) + 1
}
