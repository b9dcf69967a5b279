//! Readers from text to a tree, one for each format that trainers read.

mod json;
mod toml;
mod yaml;

use super::tree::Node;
use crate::yaml::Mark;

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
    pub(super) rule: &'static str,
    pub(super) message: String,
    pub(super) at: Option<Mark>,
    /// True when the trainer's loader stops here. A duplicate key does not stop every loader.
    pub(super) fatal: bool,
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

    /// Returns the file name extension.
    pub(super) fn extension(self) -> &'static str {
        match self {
            Self::Yaml => "yaml",
            Self::Toml => "toml",
            Self::Json => "json",
        }
    }

    pub(super) fn read(self, text: &str) -> Source {
        match self {
            Self::Yaml => yaml::read(text),
            Self::Toml => toml::read(text),
            Self::Json => json::read(text),
        }
    }
}

fn twice(key: &str) -> String {
    format!("{key} is given twice and only the last one counts: remove one")
}

/// Positions of byte offsets. The line starts are found once; look-ups may come in any order.
struct Places<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Places<'a> {
    fn of(text: &'a str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { text, starts: std::iter::once(0).chain(breaks).collect() }
    }

    fn mark(&self, offset: usize) -> Mark {
        let line = self.starts.partition_point(|start| *start <= offset);
        let before = self.text.get(self.starts[line - 1]..offset).unwrap_or_default();
        Mark { file: 0, line: line as u32, column: before.chars().count() as u32 + 1 }
    }
}
