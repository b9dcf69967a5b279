//! The parts of a word: texts, and what the shell puts in the place of variables.

/// A part of a word.
#[derive(Debug)]
pub(super) enum Part {
    Text {
        text: String,
        quoted: bool,
    },
    Variable {
        name: String,
        default: Option<String>,
        quoted: bool,
    },
    /// `${NAME[@]}`, which becomes as many words as it has elements.
    Array(String),
    /// A part that only the job knows; `many` when it may become no word, or several.
    Unknown {
        many: bool,
    },
}

/// Returns the length of the name at the start of a text.
pub(super) fn name_length(text: &str) -> usize {
    text.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count()
}

/// Reads what is between the braces of `${…}`.
pub(super) fn parameter(inside: &str, quoted: bool) -> Part {
    let length = name_length(inside);
    let (name, rest) = inside.split_at(length);
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let default = rest.strip_prefix(":-").or(rest.strip_prefix('-')).or(rest.strip_prefix(":="));
    let default = default.or(rest.strip_prefix('='));
    match rest {
        "" if is_name => Part::Variable { name: name.to_owned(), default: None, quoted },
        "[@]" | "[*]" if is_name => Part::Array(name.to_owned()),
        _ if inside.starts_with(['@', '*']) => Part::Unknown { many: true },
        _ => match default.map(unquoted).filter(|text| is_name && !text.contains(['$', '`', '\\', '"', '\''])) {
            Some(default) => Part::Variable { name: name.to_owned(), default: Some(default.to_owned()), quoted },
            None => Part::Unknown { many: !quoted },
        },
    }
}

/// Returns a text without the pair of quotes around it.
fn unquoted(text: &str) -> &str {
    let inside = |quote: char| text.strip_prefix(quote)?.strip_suffix(quote);
    inside('"').or_else(|| inside('\'')).unwrap_or(text)
}
