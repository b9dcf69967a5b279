//! The normal form: every key and value in the single spelling and type that the later steps know.

mod cast;
mod change;
mod forms;
mod imports;
mod message;
mod repair;
mod value;

use serde_json::Value as Json;

use super::schema;
use crate::yaml;

pub use imports::{Import, take_imports};
pub use message::{Code, Level, Message};
use value::{Kind, Value};

/// Actions in addition to the change of form. Travis runs [`Options::PRODUCTION`]; the corpora require the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// True when plain text is reported where a secret belongs.
    pub alert: bool,
    /// True when `language`, `os` and `dist` are filled in.
    pub defaults: bool,
    /// True when misspelled keys and values are repaired.
    pub fix: bool,
    /// True when wrong parts are removed instead of kept.
    pub drop: bool,
    /// True when keys without effect on the file's language or system are reported.
    pub support: bool,
}

impl Options {
    /// The options that Travis runs with.
    pub const PRODUCTION: Self = Self { alert: true, defaults: true, fix: true, drop: false, support: false };
}

/// A file in its normal form.
#[derive(Debug, Clone, PartialEq)]
pub struct Normal {
    /// The config, a map.
    pub config: Json,
    /// Changes and faults, in the order in which they were found.
    pub messages: Vec<Message>,
    /// Number of messages beyond these.
    pub untold: usize,
}

/// Reads a `.travis.yml`. Travis first removes the white space at its end, which a block scalar there would keep.
///
/// # Errors
/// The same as for [`yaml::read`].
pub fn read(text: &str) -> Result<yaml::Document, yaml::Error> {
    yaml::read(text.trim_end())
}

/// The error for a document whose root is not a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the file must be a map of keys, such as `language: python`")]
pub struct NotAMap;

/// Brings a document into the normal form. An empty document is an empty map.
///
/// # Errors
/// Fails when the document is a list or a scalar.
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
