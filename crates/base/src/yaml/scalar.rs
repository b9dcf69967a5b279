//! Meanings of a plain scalar other than a string.

/// Returns true if a plain scalar is YAML's null.
pub fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// Returns true if a plain scalar is a decimal integer that fits `i64`.
pub fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let octal = digits.len() > 1 && digits.starts_with('0');
    !octal && digits.bytes().all(|b| b.is_ascii_digit()) && text.parse::<i64>().is_ok()
}

/// The words that a reader takes for booleans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boolean {
    /// YAML 1.1 as in PyYAML: also `yes`, `no`, `on` and `off`.
    Yaml11,
    /// YAML 1.2 and Travis: only `true` and `false`.
    Yaml12,
}

impl Boolean {
    /// Returns the boolean that a plain scalar stands for.
    pub fn of(self, text: &str) -> Option<bool> {
        let is = |word: &str| {
            let mut title = word.to_owned();
            title[..1].make_ascii_uppercase();
            text == word || text == title || text == word.to_ascii_uppercase()
        };
        let words = match self {
            Self::Yaml11 => [("true", "false"), ("yes", "no"), ("on", "off")].as_slice(),
            Self::Yaml12 => [("true", "false")].as_slice(),
        };
        words.iter().find_map(|(yes, no)| if is(yes) { Some(true) } else { is(no).then_some(false) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_by_version() {
        assert_eq!(Boolean::Yaml11.of("no"), Some(false));
        assert_eq!(Boolean::Yaml12.of("no"), None);
        assert_eq!(Boolean::Yaml12.of("True"), Some(true));
        assert_eq!(Boolean::Yaml12.of("tRUE"), None);
        assert_eq!(Boolean::Yaml12.of(""), None);
    }

    #[test]
    fn integers() {
        for (text, expected) in [("1", true), ("-40", true), ("010", false), ("0", true), ("", false), ("1.0", false)] {
            assert_eq!(is_integer(text), expected, "{text}");
        }
    }
}
