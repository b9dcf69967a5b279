//! An outline of a text that does not parse: what looks like keys, two levels deep. Only these keys decide whether such a
//! file is a training config.

use super::Format;
use crate::tree::{Entry, Node, Value};
use crate::yaml::Mark;

pub(super) fn read(format: Format, text: &str) -> Option<Node> {
    let mut top: Vec<Entry> = Vec::new();
    let mut depth = 0_i32;
    for (index, line) in text.lines().enumerate() {
        let level = match format {
            Format::Yaml => line.len() - line.trim_start().len(),
            Format::Toml if line.starts_with('[') => usize::from(line.contains('.')),
            Format::Toml => usize::from(depth > 0),
            Format::Json => usize::from(depth > 1),
        };
        let column = (line.len() - line.trim_start().len()) as u32 + 1;
        let at = Mark { file: 0, line: index as u32 + 1, column };
        if let Some(name) = key(format, line) {
            let entry = Entry { key: name.to_owned(), at, node: Node { value: Value::Map(Vec::new()), at } };
            match top.last_mut() {
                Some(Entry { node: Node { value: Value::Map(below), .. }, .. }) if level > 0 => below.push(entry),
                _ => top.push(entry),
            }
        }
        match format {
            Format::Yaml => {}
            // The keys below a table's header are those of the table.
            Format::Toml => depth |= i32::from(line.starts_with('[')),
            Format::Json => depth += brackets(line),
        }
    }
    let at = top.first()?.at;
    Some(Node { value: Value::Map(top), at })
}

/// Returns the key with which a line begins.
fn key(format: Format, line: &str) -> Option<&str> {
    let line = line.trim_start();
    let name = match format {
        Format::Yaml => line.trim_start_matches("- ").split_once(':')?.0,
        Format::Toml if line.starts_with('[') => line.trim_matches(['[', ']', ' ']).split('.').next_back()?,
        Format::Toml => line.split_once('=')?.0.trim_end(),
        Format::Json => line.trim_start_matches(['{', '[', ' ']).split_once(':')?.0.trim_end(),
    };
    let name = name.trim_matches(['"', '\'']);
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    is_name.then_some(name)
}

/// Counts the braces that a line opens, less those that it closes. Braces in strings are rare enough.
fn brackets(line: &str) -> i32 {
    let count = |bracket: u8| line.bytes().filter(|byte| *byte == bracket).count() as i32;
    count(b'{') - count(b'}')
}

/// Joins the part of a file that was read with its outline.
pub(super) fn joined(read: Option<Node>, outline: Option<Node>) -> Option<Node> {
    match (read, outline) {
        (Some(Node { value: Value::Map(mut entries), at }), Some(outline)) => {
            let more = outline.entries().iter().filter(|more| !entries.iter().any(|entry| entry.key == more.key));
            let more: Vec<Entry> = more.cloned().collect();
            entries.extend(more);
            Some(Node { value: Value::Map(entries), at })
        }
        (read, outline) => outline.or(read),
    }
}
