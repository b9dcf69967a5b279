//! Writer for YAML in block style. A string that was written without quotes stays without quotes: how it is read
//! depends on the trainer's loader, and the copy must be read as the original is.

use super::{number, quoted};
use crate::tree::{Entry, Node, Value};

pub(super) fn write(root: &Node) -> String {
    match &root.value {
        Value::Map(entries) if !entries.is_empty() => map(entries, 0),
        Value::List(items) if !items.is_empty() => list(items, 0),
        value => format!("{}\n", scalar(value)),
    }
}

fn map(entries: &[Entry], depth: usize) -> String {
    let indent = "  ".repeat(depth);
    let entry = |entry: &Entry| format!("{indent}{}:{}", key(&entry.key), after(&entry.node, depth));
    entries.iter().map(entry).collect()
}

fn list(items: &[Node], depth: usize) -> String {
    let indent = "  ".repeat(depth);
    let item = |item: &Node| match &item.value {
        // The first key follows the dash on the same line, in the column where the indentation puts the other keys.
        Value::Map(entries) if !entries.is_empty() => {
            format!("{indent}- {}", map(entries, depth + 1).trim_start())
        }
        _ => format!("{indent}-{}", after(item, depth)),
    };
    items.iter().map(item).collect()
}

/// Formats the text after a key or a dash.
fn after(node: &Node, depth: usize) -> String {
    match &node.value {
        Value::Map(entries) if !entries.is_empty() => format!("\n{}", map(entries, depth + 1)),
        Value::List(items) if !items.is_empty() => format!("\n{}", list(items, depth + 1)),
        Value::Map(_) => " {}\n".to_owned(),
        Value::List(_) => " []\n".to_owned(),
        value => format!(" {}\n", scalar(value)),
    }
}

fn key(key: &str) -> String {
    let is_bare = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(&byte));
    if is_bare { key.to_owned() } else { quoted(key) }
}

pub(super) fn scalar(value: &Value) -> String {
    match value {
        Value::Bool(is) => is.to_string(),
        Value::Number { value, .. } if value.is_nan() => ".nan".to_owned(),
        Value::Number { value, .. } if value.is_infinite() => if *value > 0.0 { ".inf" } else { "-.inf" }.to_owned(),
        Value::Number { value, whole } => number(*value, *whole),
        Value::Text { text, plain: true } if stays_plain(text) => text.clone(),
        Value::Text { text, .. } => quoted(text),
        Value::Null | Value::List(_) | Value::Map(_) => "null".to_owned(),
    }
}

/// Returns true if a text that was written without quotes can stay so after a key. Text with several lines is a string
/// to every loader, so quotes change nothing.
fn stays_plain(text: &str) -> bool {
    let ends = text.ends_with(':') || text.contains(": ") || text.contains(" #");
    !ends
        && !text.contains('\n')
        && text.chars().all(|c| c == '\t' || quoted(&c.to_string()).len() <= 2 + c.len_utf8() || c == '"' || c == '\\')
}
