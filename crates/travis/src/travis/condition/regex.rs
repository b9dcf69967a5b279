//! Ruby's regular expressions.

use std::sync::OnceLock;

use super::Error;

/// Maximum number of backtracks before a match counts as taking too long, and the maximum length of a text where
/// backtracking can happen. Conditions come from strangers.
const BACKTRACKS: usize = 2_000;
const MAX_TEXT: usize = 2_000;
/// Maximum memory of a compiled expression, in bytes. The time to compile it grows with its size.
const SIZE: usize = 1 << 15;

/// An expression with Ruby's meaning: `^` and `$` match at every line, and `(?m)` lets the dot match newlines.
#[derive(Debug, Clone)]
enum Regex {
    /// Matches in time that grows with the text alone.
    Linear(regex::Regex),
    /// Has look-around or references, which may have to backtrack.
    Backtracking(Box<fancy_regex::Regex>),
}

/// An expression as written; it is compiled at its first use.
#[derive(Debug, Clone, Default)]
pub struct Pattern {
    text: String,
    compiled: OnceLock<Option<Regex>>,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl Pattern {
    /// Creates the pattern of this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), compiled: OnceLock::new() }
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// Checks that the text is an expression.
    ///
    /// # Errors
    /// Fails when the text is not an expression, or the expression is too large.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.compiled().map(|_| ())
    }

    /// Returns the amount of work of a match. Most of the first match is the compilation, above all where parts are
    /// repeated.
    pub(super) fn work(&self) -> usize {
        match self.compiled.get() {
            None => 40 + self.text.len() / 4 + if self.text.contains('{') { 250 } else { 0 },
            Some(Some(Regex::Backtracking(_))) => 1_000,
            Some(_) => 5,
        }
    }

    /// Returns true if the expression matches somewhere in a text.
    ///
    /// # Errors
    /// Fails when the text is not an expression, or would take too long.
    pub fn is_match(&self, text: &str) -> Result<bool, Error> {
        match self.compiled()? {
            Regex::Linear(regex) => Ok(regex.is_match(text)),
            Regex::Backtracking(_) if text.len() > MAX_TEXT => Err(self.error()),
            Regex::Backtracking(regex) => regex.is_match(text).map_err(|_| self.error()),
        }
    }

    /// Returns the texts that the expression matches, if it names them all: `^a$` or `^(a|b)$`.
    pub fn alternatives(&self) -> Option<Vec<&str>> {
        let inner = self.text.strip_prefix('^')?.strip_suffix('$')?;
        let inner = match inner.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')) {
            Some(group) => group,
            // Without parentheses, `^` and `$` belong to single alternatives.
            None if inner.contains('|') => return None,
            None => inner,
        };
        let texts: Vec<&str> = inner.split('|').collect();
        let is_literal = |c: char| c.is_ascii_alphanumeric() || "-_/".contains(c);
        texts.iter().all(|text| !text.is_empty() && text.chars().all(is_literal)).then_some(texts)
    }

    fn compiled(&self) -> Result<&Regex, Error> {
        self.compiled.get_or_init(|| compile(&self.text)).as_ref().ok_or_else(|| self.error())
    }

    fn error(&self) -> Error {
        Error::Regex(self.text.clone())
    }
}

fn compile(pattern: &str) -> Option<Regex> {
    let pattern = format!("(?m){}", translated(pattern));
    match regex::RegexBuilder::new(&pattern).size_limit(SIZE).dfa_size_limit(SIZE).build() {
        Ok(regex) => Some(Regex::Linear(regex)),
        Err(regex::Error::CompiledTooBig(_)) => None,
        // Look-around and references are errors for the linear engine.
        Err(_) => {
            let mut builder = fancy_regex::RegexBuilder::new(&pattern);
            builder.backtrack_limit(BACKTRACKS).delegate_size_limit(SIZE).delegate_dfa_size_limit(SIZE);
            builder.build().ok().map(|regex| Regex::Backtracking(Box::new(regex)))
        }
    }
}

/// Ruby's classes, which hold only ASCII characters.
const CLASSES: [(char, &str); 4] = [('d', "0-9"), ('w', "0-9A-Za-z_"), ('s', r" \t\r\n\f\x0B"), ('h', "0-9A-Fa-f")];

/// Returns the characters that an escaped character stands for, if it is one of Ruby's classes. In brackets, negated
/// classes are left to the engine, and so are ranges that would begin with a class, which are errors.
fn class(escaped: char, in_brackets: bool, rest: &str) -> Option<String> {
    let (_, set) = CLASSES.iter().find(|(name, _)| *name == escaped.to_ascii_lowercase())?;
    let is_range = rest.starts_with('-') && !rest.starts_with("-]");
    match (in_brackets, escaped.is_ascii_lowercase()) {
        (false, true) => Some(format!("[{set}]")),
        (false, false) => Some(format!("[^{set}]")),
        (true, true) if !is_range => Some((*set).to_owned()),
        (true, _) => None,
    }
}

/// Translates an expression: Ruby's inline option `m` is `s` here, and its classes are written out. Other escapes stay
/// as they are.
fn translated(pattern: &str) -> String {
    let mut translated = String::with_capacity(pattern.len());
    let mut in_brackets = false;
    let mut chars = pattern.chars().peekable();
    let mut at = 0;
    while let Some(c) = chars.next() {
        at += c.len_utf8();
        match c {
            '\\' => {
                let escaped = chars.next();
                at += escaped.map_or(0, char::len_utf8);
                match escaped.and_then(|escaped| class(escaped, in_brackets, &pattern[at..])) {
                    Some(class) => translated.push_str(&class),
                    None => translated.extend(std::iter::once(c).chain(escaped)),
                }
                continue;
            }
            '[' => in_brackets = true,
            ']' => in_brackets = false,
            _ => {}
        }
        translated.push(c);
        if c == '(' && !in_brackets && chars.peek() == Some(&'?') {
            translated.extend(chars.next());
            at += 1;
            while let Some(option) = chars.next_if(|c| "mix-".contains(*c)) {
                translated.push(if option == 'm' { 's' } else { option });
                at += 1;
            }
        }
    }
    translated
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_mean_what_they_mean_in_ruby() {
        for (pattern, text, matches) in [
            ("^b$", "a\nb\nc", true),
            ("a.b", "a\nb", false),
            ("(?m)a.b", "a\nb", true),
            (r"^v\d+\.\w+$", "v12.x_1", true),
            (r"^\w$", "ü", false),
            (r"[\w-]+x", "a-bx", true),
            (r"^\h+$", "09af", true),
            ("^(?!tmp)", "tmp-1", false),
            (r"(a)\1", "aa", true),
            (r"\[x\]", "[x]", true),
        ] {
            assert_eq!(Pattern::new(pattern).is_match(text), Ok(matches), "{pattern} on {text:?}");
        }
    }

    #[test]
    fn expressions_that_are_none_or_too_much() {
        let long = "a".repeat(MAX_TEXT + 1);
        for (pattern, text) in [
            ("(", "a"),
            ("[a", "a"),
            ("(?=(a+)+$)(a|aa)+(?!x)b", &"a".repeat(MAX_TEXT)),
            ("^(?!b)", &long),
            ("a{9999}{9}", "a"),
        ] {
            assert!(Pattern::new(pattern).is_match(text).is_err(), "{pattern}");
        }
    }
}
