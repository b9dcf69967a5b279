//! Words of bash.

use serde_json::Value as Json;

/// The text as one word that bash takes literally. Bash has no way to hold NUL, so it is left out.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\0', "").replace('\'', r"'\''"))
}

/// Whether a text can be a variable's name.
pub fn is_name(text: &str) -> bool {
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    starts && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// A value where a command is wanted, as Ruby prints it: Travis runs a map in `script` in this form.
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
