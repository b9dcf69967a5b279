//! One tree for the three formats: values as the trainer's loader gives them to it, with their places.

use crate::yaml::Mark;

/// A value and where it is written.
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
        /// Whether it is written as an integer.
        whole: bool,
    },
    Text {
        text: String,
        /// Whether it has no quotes, which only YAML allows: its author may have meant something else than a text.
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
    /// The key without the dashes that SimpleTuner allows before it.
    pub(super) fn name(&self) -> &str {
        self.key.trim_start_matches("--")
    }
}

impl Node {
    /// The entries of a map; none for anything else.
    pub(super) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; none for anything else.
    pub(super) fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// The text of a text.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Whether there is something: neither null nor an empty text.
    pub(super) fn is_given(&self) -> bool {
        self.value != Value::Null && self.text() != Some("")
    }

    /// Whether Python takes the value for true.
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

    /// Calls `see` with every scalar below and the entry that it is the value of, or an item of.
    pub(super) fn each_scalar<'a>(&'a self, key: Option<&'a Entry>, see: &mut impl FnMut(Option<&'a Entry>, &'a Node)) {
        match &self.value {
            Value::List(items) => items.iter().for_each(|item| item.each_scalar(key, see)),
            Value::Map(entries) => entries.iter().for_each(|entry| entry.node.each_scalar(Some(entry), see)),
            _ => see(key, self),
        }
    }
}
