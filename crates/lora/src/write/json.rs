//! Writer for JSON as Python reads it: with `NaN` and `Infinity`.

use super::{number, quoted};
use crate::tree::{Node, Value};

pub(super) fn write(root: &Node) -> String {
    let mut text = String::new();
    put(&mut text, &root.value, 0);
    text.push('\n');
    text
}

fn put(text: &mut String, value: &Value, depth: usize) {
    let line = |text: &mut String, depth: usize| {
        text.push('\n');
        text.extend(std::iter::repeat_n("  ", depth));
    };
    match value {
        Value::List(items) if !items.is_empty() => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                text.push_str(if index > 0 { "," } else { "" });
                line(text, depth + 1);
                put(text, &item.value, depth + 1);
            }
            line(text, depth);
            text.push(']');
        }
        Value::Map(entries) if !entries.is_empty() => {
            text.push('{');
            for (index, entry) in entries.iter().enumerate() {
                text.push_str(if index > 0 { "," } else { "" });
                line(text, depth + 1);
                text.push_str(&format!("{}: ", quoted(&entry.key)));
                put(text, &entry.node.value, depth + 1);
            }
            line(text, depth);
            text.push('}');
        }
        value => text.push_str(&inline(value, scalar)),
    }
}

/// Formats a value on one line.
pub(super) fn inline(value: &Value, scalar: impl Fn(&Value) -> String + Copy) -> String {
    match value {
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(|item| inline(&item.value, scalar)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Map(entries) => {
            let entry = |entry: &crate::tree::Entry| format!("{}: {}", entry.key, inline(&entry.node.value, scalar));
            format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
        value => scalar(value),
    }
}

pub(super) fn scalar(value: &Value) -> String {
    match value {
        Value::Bool(is) => is.to_string(),
        Value::Number { value, .. } if value.is_nan() => "NaN".to_owned(),
        Value::Number { value, .. } if value.is_infinite() => {
            if *value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned()
        }
        Value::Number { value, whole } => number(*value, *whole),
        Value::Text { text, .. } => quoted(text),
        Value::Null | Value::List(_) | Value::Map(_) => "null".to_owned(),
    }
}
