//! The tree for YAML, TOML and JSON: values as the trainer's loader returns them, with their positions.

use crate::yaml::Mark;

/// A value and its position in the file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) at: Mark,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Number {
        value: f64,
        /// True when the number is written as an integer.
        whole: bool,
    },
    Text {
        text: String,
        /// True when the text has no quotes, which only YAML allows: the author may not have meant a string.
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) at: Mark,
    pub(super) node: Node,
}

impl Entry {
    /// Returns the key without the leading dashes that SimpleTuner allows.
    pub(super) fn name(&self) -> &str {
        self.key.trim_start_matches("--")
    }
}

impl Node {
    /// Returns the entries of a map; an empty slice for any other value.
    pub(super) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// Returns the items of a list; an empty slice for any other value.
    pub(super) fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// Returns the string if the value is a string.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Returns true if the value is neither null nor an empty string.
    pub(super) fn is_given(&self) -> bool {
        self.value != Value::Null && self.text() != Some("")
    }

    /// Returns true for a template such as `${RANK}`, which another program fills in before the trainer sees it.
    pub(super) fn is_template(&self) -> bool {
        let is = |text: &str| {
            let text = text.trim();
            text.starts_with("${") && text.ends_with('}') || text.starts_with("{{") && text.ends_with("}}")
        };
        self.text().is_some_and(is) || self.items().iter().any(Self::is_template)
    }

    /// Returns true if Python treats the value as true.
    pub(super) fn is_true(&self) -> bool {
        match &self.value {
            Value::Null => false,
            Value::Bool(is) => *is,
            Value::Number { value, .. } => *value != 0.0,
            Value::Text { text, .. } => !text.is_empty(),
            Value::List(items) => !items.is_empty(),
            Value::Map(entries) => !entries.is_empty(),
        }
    }

    /// Calls `see` with every scalar below this node, and with the entry whose value contains it.
    pub(super) fn each_scalar<'a>(&'a self, key: Option<&'a Entry>, see: &mut impl FnMut(Option<&'a Entry>, &'a Node)) {
        match &self.value {
            Value::List(items) => items.iter().for_each(|item| item.each_scalar(key, see)),
            Value::Map(entries) => entries.iter().for_each(|entry| entry.node.each_scalar(Some(entry), see)),
            _ => see(key, self),
        }
    }
}
