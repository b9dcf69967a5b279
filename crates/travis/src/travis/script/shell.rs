//! Quoting and names for bash.

use serde_json::Value as Json;

/// Quotes the text as one word that bash takes literally. Bash has no way to hold NUL, so NUL is left out.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\0', "").replace('\'', r"'\''"))
}

/// Returns true if a text can be a variable's name.
pub fn is_name(text: &str) -> bool {
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    starts && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Prints a value where a command is expected, as Ruby does: Travis runs a map in `script` in this form.
pub fn printed(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Null => String::new(),
        other => inspected(other),
    }
}

fn inspected(value: &Json) -> String {
    match value {
        Json::Null => "nil".to_owned(),
        Json::Array(items) => format!("[{}]", items.iter().map(inspected).collect::<Vec<_>>().join(", ")),
        Json::Object(map) => {
            let pairs = map.iter().map(|(key, value)| format!("{}=>{}", Json::from(key.as_str()), inspected(value)));
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}
