//! Mends of findings that are certain: what has to stand in place of a key or a value. They become edits of the file's
//! text, at the place where the tree was read from. An edit is made only if that place holds what is to be replaced.

use super::Mark;
use crate::domain::Fix;

/// The text that surely has to stand in place of a finding's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mend {
    /// Another word: the quotes around it stay.
    Word { old: Box<str>, new: Box<str> },
    /// A text in quotes becomes a number or a boolean.
    Unquote { old: Box<str>, new: Box<str> },
    /// A number or a boolean becomes a text; of several words, the one that is written.
    Quote { words: Vec<String> },
    /// A number becomes the same one, written as an integer.
    Integer { value: i64 },
    /// A text that should not be there is removed.
    Remove { text: &'static str },
}

impl Mend {
    pub fn word(old: &str, new: &str) -> Self {
        Self::Word { old: old.into(), new: new.into() }
    }

    /// Returns the edit of the text, for a finding at this place.
    pub fn fix(&self, text: &str, at: Mark) -> Option<Fix> {
        // Marks do not count a byte order mark.
        let body = text.strip_prefix('\u{feff}').unwrap_or(text);
        if let Self::Remove { text: "\u{feff}" } = self {
            return (body.len() < text.len()).then(|| edit(0, text.len() - body.len(), String::new()));
        }
        let start = at.offset(body)?;
        let rest = &body[start..];
        let is_named = body[..start].rsplit(['\n', ' ', '\t']).find(|part| !part.is_empty());
        // A value with an anchor may be meant otherwise where it is named again.
        let is_named = is_named.is_some_and(|part| part.starts_with(['&', '!']));
        let mut fix = if is_named { None } else { self.at(rest) }?;
        let skipped = text.len() - body.len() + start;
        (fix.start, fix.end) = (fix.start + skipped, fix.end + skipped);
        Some(fix)
    }

    /// Returns the edit of a text that begins with what is to be replaced.
    fn at(&self, rest: &str) -> Option<Fix> {
        match self {
            Self::Word { old, new } => {
                let quote = rest.chars().next().filter(|c| ['"', '\''].contains(c));
                let inner = quote.map_or(rest, |quote| &rest[quote.len_utf8()..]);
                let end = inner.strip_prefix(&**old)?;
                let is_whole = quote.map_or_else(|| ends(end), |quote| end.starts_with(quote));
                let start = rest.len() - inner.len();
                is_whole.then(|| edit(start, start + old.len(), new.to_string()))
            }
            Self::Unquote { old, new } => {
                let is_there = |quote: &char| rest.starts_with(&format!("{quote}{old}{quote}"));
                ['"', '\''].iter().any(is_there).then(|| edit(0, old.len() + 2, new.to_string()))
            }
            Self::Quote { words } => {
                let is_part = |c: char| c.is_ascii_alphanumeric() || "+-._".contains(c);
                let written = &rest[..rest.find(|c| !is_part(c)).unwrap_or(rest.len())];
                let is_meant = words.is_empty() || words.iter().any(|word| word.eq_ignore_ascii_case(written));
                let word = if words.is_empty() { written.to_owned() } else { written.to_ascii_lowercase() };
                let is_whole = !written.is_empty() && ends(&rest[written.len()..]);
                (is_meant && is_whole).then(|| edit(0, written.len(), format!("\"{word}\"")))
            }
            Self::Integer { value } => {
                let is_part = |c: char| c.is_ascii_digit() || "+-.eE".contains(c);
                let written = &rest[..rest.find(|c| !is_part(c)).unwrap_or(rest.len())];
                let is_same = written.parse::<f64>().is_ok_and(|number| number == *value as f64);
                (is_same && ends(&rest[written.len()..])).then(|| edit(0, written.len(), value.to_string()))
            }
            Self::Remove { text } => rest.starts_with(text).then(|| edit(0, text.len(), String::new())),
        }
    }
}

fn edit(start: usize, end: usize, replacement: String) -> Fix {
    Fix { start, end, replacement }
}

/// Returns true if a word ends where this text begins.
fn ends(text: &str) -> bool {
    let blank = text.trim_start_matches([' ', '\t']);
    let is_comment = blank.len() < text.len() && blank.starts_with('#');
    is_comment || blank.is_empty() || blank.starts_with(['\n', '\r', ':', '=', ',', ']', '}'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mended(mend: &Mend, text: &str, column: u32) -> Option<String> {
        let fix = mend.fix(text, Mark { file: 0, line: 1, column })?;
        Some(Fix::apply([&fix], text))
    }

    #[test]
    fn only_the_word_itself_is_replaced() {
        let mend = Mend::word("old", "new");
        for (text, column, wanted) in [
            ("old: 1 # old", 1, "new: 1 # old"),
            ("'old' : 1", 1, "'new' : 1"),
            ("{\"old\": 1}", 2, "{\"new\": 1}"),
            ("\u{feff}old = 1", 1, "\u{feff}new = 1"),
            ("é: old # x", 4, "é: new # x"),
            ("[old, x]", 2, "[new, x]"),
            ("a: old\r\n", 4, "a: new\r\n"),
        ] {
            assert_eq!(mended(&mend, text, column).as_deref(), Some(wanted), "{text}");
        }
        for (text, column) in [
            ("older: 1", 1),
            ("x: 1", 1),
            ("'older': 1", 1),
            ("a: old more", 4),
            ("a: &x old", 7),
            ("a: !t old", 7),
            ("old", 9),
            ("\"\"\"old\"\"\"", 1),
        ] {
            assert_eq!(mended(&mend, text, column), None, "{text}");
        }
    }

    #[test]
    fn quotes_come_and_go() {
        let number = Mend::Unquote { old: "8".into(), new: "8".into() };
        assert_eq!(mended(&number, "a: '8' # x", 4).as_deref(), Some("a: 8 # x"));
        assert_eq!(mended(&number, "a: 8", 4), None);
        let no = Mend::Quote { words: vec!["no".to_owned()] };
        assert_eq!(mended(&no, "a: No", 4).as_deref(), Some("a: \"no\""));
        assert_eq!(mended(&no, "a: false", 4), None);
        assert_eq!(mended(&Mend::Quote { words: vec![] }, "a = 512 # x", 5).as_deref(), Some("a = \"512\" # x"));
        let integer = Mend::Integer { value: 1000 };
        for (text, wanted) in [
            ("a = 1000.0 # x", Some("a = 1000 # x")),
            ("a = 1e3", Some("a = 1000")),
            ("a = 1_000.0", None),
            ("a = 1000.5", None),
            ("a = 1000.0.0", None),
        ] {
            assert_eq!(mended(&integer, text, 5).as_deref(), wanted, "{text}");
        }
        assert_eq!(mended(&Mend::Remove { text: "," }, "[1,]", 3).as_deref(), Some("[1]"));
        assert_eq!(mended(&Mend::Remove { text: "\u{feff}" }, "\u{feff}a = 1", 1).as_deref(), Some("a = 1"));
    }
}
