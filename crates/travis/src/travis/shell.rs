//! Values of a config as bash gets them: quoted, as names, and as commands.

use serde_json::Value as Json;

use super::matrix::Config;

/// Quotes the text as one word that bash takes literally. Bash has no way to hold NUL, so NUL is left out.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\0', "").replace('\'', r"'\''"))
}

/// Returns true if a text can be a variable's name.
pub fn is_name(text: &str) -> bool {
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    starts && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Returns the text of a key; the first item of a list.
pub fn text<'a>(config: &'a Config, key: &str) -> Option<&'a str> {
    match config.get(key)? {
        Json::String(text) => Some(text),
        Json::Array(items) => items.first().and_then(Json::as_str),
        _ => None,
    }
}

/// Returns the commands of a phase, or of any other key that has a list or a single command.
pub fn lines(value: &Json) -> Vec<String> {
    match value {
        Json::Array(items) => items.iter().map(printed).collect(),
        Json::Null => Vec::new(),
        Json::Bool(false) => vec!["skip".to_owned()],
        other => vec![printed(other)],
    }
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
