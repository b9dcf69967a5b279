//! Writers from a tree to text that the trainer's loader reads as the same values. Comments are lost; the order of keys
//! is kept.

mod json;
mod toml;
mod yaml;

use super::read::Format;
use super::tree::{Node, Value};

impl Format {
    /// Returns the text of the whole file.
    pub(super) fn write(self, root: &Node) -> String {
        match self {
            Self::Yaml => yaml::write(root),
            Self::Toml => toml::write(root),
            Self::Json => json::write(root),
        }
    }

    /// Formats a value on one line for messages.
    pub(super) fn short(self, value: &Value) -> String {
        match self {
            Self::Toml => toml::inline(value),
            Self::Yaml | Self::Json => json::inline(value, |scalar| match self {
                Self::Yaml => yaml::scalar(scalar),
                _ => json::scalar(scalar),
            }),
        }
    }
}

/// Quotes a string with escapes that all three formats support.
fn quoted(text: &str) -> String {
    let mut quoted = "\"".to_owned();
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            // Characters that loaders refuse or treat as a line break.
            '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}'..='\u{ffff}' => {
                quoted.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

/// Formats a finite number: with a dot if it is not an integer, and never with an exponent, since YAML 1.1 does not
/// read a number with an exponent but no dot as a number. Integers beyond 2^53 are rounded, as the tree has them.
fn number(value: f64, whole: bool) -> String {
    let text = if whole { format!("{value:.0}") } else { value.to_string() };
    if whole || text.contains('.') { text } else { text + ".0" }
}

#[cfg(test)]
mod tests;
