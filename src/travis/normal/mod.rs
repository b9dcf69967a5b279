//! The normal form: every key and value spelled and typed in the one way the later steps know.

mod cast;
mod change;
mod env_vars;
mod forms;
mod imports;
mod keys;
mod message;
mod repair;
mod scalars;
mod special;
mod unsupported;
mod value;

use serde_json::Value as Json;

use super::schema;
use crate::yaml;

pub use imports::{Import, take_imports};
pub use message::{Code, Level, Message};
use value::{Kind, Value};

/// What to do beside the change of form. [`Options::PRODUCTION`] is what Travis runs; the corpora need the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Warn of plain text where a secret belongs.
    pub alert: bool,
    /// Fill in `language`, `os` and `dist`.
    pub defaults: bool,
    /// Mend misspelled keys and values.
    pub fix: bool,
    /// Remove what is wrong instead of keeping it.
    pub drop: bool,
    /// Tell of keys without effect on the language or system of the file.
    pub support: bool,
}

impl Options {
    /// What Travis runs with.
    pub const PRODUCTION: Self = Self { alert: true, defaults: true, fix: true, drop: false, support: false };
}

/// A file in its normal form.
#[derive(Debug, Clone, PartialEq)]
pub struct Normal {
    /// The config, a map.
    pub config: Json,
    /// What was changed or is wrong, in the order it was found.
    pub messages: Vec<Message>,
    /// How many more there would be.
    pub untold: usize,
}

/// Reads a `.travis.yml`. Travis takes off the white space at its end first, which a block scalar there would keep.
///
/// # Errors
/// As [`yaml::read`].
pub fn read(text: &str) -> Result<yaml::Document, yaml::Error> {
    yaml::read(text.trim_end())
}

/// The root of the document is not a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the file must be a map of keys, such as `language: python`")]
pub struct NotAMap;

/// Brings a document into the normal form. An empty document is an empty map.
///
/// # Errors
/// When the document is a list or a scalar.
pub fn normalize(document: &yaml::Document, options: Options) -> Result<Normal, NotAMap> {
    let root =
        document.root.as_ref().map_or_else(|| Value::new(Kind::Map(Vec::new()), yaml::Mark::default()), Value::of);
    let root = if root.is_null() { Value::new(Kind::Map(Vec::new()), root.at) } else { root };
    if !matches!(root.data, Kind::Map(_)) {
        return Err(NotAMap);
    }
    let mut changer = change::Changer::new(options);
    for duplicate in &document.duplicates {
        changer.duplicate(duplicate);
    }
    let root = changer.root(&schema::table().root, root);
    Ok(Normal { config: root.json(), messages: changer.messages, untold: changer.untold })
}
