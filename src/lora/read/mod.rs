//! Bytes to a tree, for each format that trainers read.

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

/// What could be read.
#[derive(Debug)]
pub(super) struct Source {
    /// The tree; of a file that cannot be parsed, as much as is sure.
    pub(super) root: Option<Node>,
    /// What is wrong with the file as one of its format.
    pub(super) faults: Vec<Fault>,
}

/// Something that the format does not allow.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) rule: &'static str,
    pub(super) message: String,
    pub(super) at: Option<Mark>,
    /// Whether the trainer's loader stops here; a key that is there twice does not always stop it.
    pub(super) fatal: bool,
}

impl Format {
    /// The format that a file's name tells.
    pub(super) fn of(path: &str) -> Option<Self> {
        match path.rsplit_once('.')?.1 {
            "yaml" | "yml" => Some(Self::Yaml),
            "toml" => Some(Self::Toml),
            "json" => Some(Self::Json),
            _ => None,
        }
    }

    /// How names of such files end.
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
    format!("{key} is there twice and only the last one counts: remove one")
}

/// The place of byte offsets. Asked in any order, it counts each line once.
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
