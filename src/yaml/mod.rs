//! YAML as a tree that keeps what its readers need: scalars as they are written, the order of keys, and the line and
//! column of every key and value.
//!
//! What a plain `no` or `3.10` means depends on the program that will read the file, so this layer does not decide
//! it. It knows nothing of Travis or of trainers, and never builds more than [`MAX_NODES`] nodes whatever the text.

mod read;
mod scalar;

pub use read::{Document, Duplicate, Error, MAX_BYTES, MAX_DEPTH, MAX_NODES, read, read_as};
pub use scalar::{Boolean, is_integer, is_null};

/// A place in the text: line and column are counted from 1, the column in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct Mark {
    /// Which of several texts that are put together, as [`read_as`] was told; 0 for a text alone.
    pub file: u16,
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
}

/// A value and where it is written.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The value.
    pub data: Data,
    /// Where it starts. A value that came in through an alias keeps the place of its definition.
    pub at: Mark,
    /// Whether the value carries an anchor (`&name`).
    pub anchored: bool,
    /// How much it weighs against the budget: its nodes, itself included, and their texts.
    size: usize,
    /// How many levels of collections it holds, itself included.
    height: usize,
}

/// What a node holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// An alias without an anchor.
    Unresolved,
    /// A scalar, after escapes and folding.
    Scalar {
        /// Its text.
        text: String,
        /// Whether it is written without quotes, not as a block, and not tagged `!!str`: only then can it stand for
        /// something else than a string.
        plain: bool,
    },
    /// A sequence.
    Seq(Vec<Node>),
    /// A mapping, in the order of the text, with merge keys resolved and every key once.
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key's text.
    pub key: String,
    /// Where the key is written.
    pub at: Mark,
    /// The value.
    pub value: Node,
}

impl Node {
    /// A value and the place that it is written at.
    pub fn new(data: Data, at: Mark, anchored: bool) -> Self {
        let (size, height) = match &data {
            Data::Unresolved => (0, 0),
            // Long texts weigh more, so that aliases of one cannot fill the memory.
            Data::Scalar { text, .. } => (text.len() / 64, 0),
            Data::Seq(items) => (items.iter().map(|n| n.size).sum(), tallest(items.iter())),
            Data::Map(entries) => (
                entries.iter().map(|e| e.value.size).sum::<usize>() + entries.len(),
                tallest(entries.iter().map(|e| &e.value)),
            ),
        };
        Self { data, at, anchored, size: size + 1, height }
    }

    /// How much the value weighs against [`MAX_NODES`].
    pub fn weight(&self) -> usize {
        self.size
    }

    /// The entries of a mapping; none for anything else.
    pub fn entries(&self) -> &[Entry] {
        match &self.data {
            Data::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a sequence; none for anything else.
    pub fn items(&self) -> &[Node] {
        match &self.data {
            Data::Seq(items) => items,
            _ => &[],
        }
    }

    /// The entry of a mapping with this key.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// Takes the entry with this key out of a mapping.
    pub fn take(&mut self, key: &str) -> Option<Entry> {
        let Data::Map(entries) = &mut self.data else { return None };
        let at = entries.iter().position(|entry| entry.key == key)?;
        let taken = entries.remove(at);
        self.size -= taken.value.size + 1;
        Some(taken)
    }

    /// A scalar's text.
    pub fn text(&self) -> Option<&str> {
        match &self.data {
            Data::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Whether this is nothing: an empty plain scalar, `~`, `null`, or an alias without an anchor.
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
