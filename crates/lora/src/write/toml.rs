//! Writer for TOML. TOML has no null, so a key without a value is left out.

use super::{number, quoted};
use crate::tree::{Entry, Node, Value};

pub(super) fn write(root: &Node) -> String {
    let mut text = String::new();
    table(&mut text, "", root.entries());
    text.trim_start().to_owned()
}

/// Writes a table: its own values first, since everything after the header of another table belongs to that one.
fn table(text: &mut String, path: &str, entries: &[Entry]) {
    let (below, own): (Vec<&Entry>, Vec<&Entry>) = entries.iter().partition(|entry| has_head(&entry.node));
    for entry in own.iter().filter(|entry| entry.node.value != Value::Null) {
        text.push_str(&format!("{} = {}\n", key(&entry.key), inline(&entry.node.value)));
    }
    for entry in below {
        let path = if path.is_empty() { key(&entry.key) } else { format!("{path}.{}", key(&entry.key)) };
        match &entry.node.value {
            Value::List(items) => {
                for item in items {
                    text.push_str(&format!("\n[[{path}]]\n"));
                    table(text, &path, item.entries());
                }
            }
            value => {
                text.push_str(&format!("\n[{path}]\n"));
                table(text, &path, if let Value::Map(entries) = value { entries } else { &[] });
            }
        }
    }
}

/// Returns true if a value is written under its own table header or headers.
fn has_head(node: &Node) -> bool {
    let is_map = |node: &Node| matches!(node.value, Value::Map(_));
    is_map(node) || !node.items().is_empty() && node.items().iter().all(is_map)
}

fn key(key: &str) -> String {
    let is_bare = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if is_bare { key.to_owned() } else { quoted(key) }
}

/// Formats a value on one line.
pub(super) fn inline(value: &Value) -> String {
    match value {
        Value::Null => "\"\"".to_owned(),
        Value::Bool(is) => is.to_string(),
        Value::Number { value, .. } if !value.is_finite() => value.to_string().to_lowercase(),
        Value::Number { value, whole } => number(*value, *whole),
        Value::Text { text, .. } => quoted(text),
        Value::List(items) => {
            format!("[{}]", items.iter().map(|item| inline(&item.value)).collect::<Vec<_>>().join(", "))
        }
        Value::Map(entries) => {
            let given = entries.iter().filter(|entry| entry.node.value != Value::Null);
            let entry = |entry: &Entry| format!("{} = {}", key(&entry.key), inline(&entry.node.value));
            format!("{{ {} }}", given.map(entry).collect::<Vec<_>>().join(", "))
        }
    }
}
