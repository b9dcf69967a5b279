//! Conversions from Rust values to values of the tree.

use crate::tree::{Entry, Node, Value};
use crate::yaml::Mark;

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text { text: text.to_owned(), plain: false }
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text { text, plain: false }
    }
}

impl From<bool> for Value {
    fn from(is: bool) -> Self {
        Self::Bool(is)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number { value: number.into(), whole: true }
    }
}

impl From<Vec<Value>> for Value {
    fn from(items: Vec<Value>) -> Self {
        Self::List(items.into_iter().map(|value| Node { value, at: Mark::default() }).collect())
    }
}

impl<const N: usize> From<[(&str, Value); N]> for Value {
    fn from(entries: [(&str, Value); N]) -> Self {
        let at = Mark::default();
        let entry = |(key, value): (&str, Value)| Entry { key: key.to_owned(), at, node: Node { value, at } };
        Self::Map(entries.into_iter().map(entry).collect())
    }
}
