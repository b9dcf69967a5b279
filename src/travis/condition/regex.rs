//! Ruby's regular expressions.

use std::sync::OnceLock;

use super::Error;

/// How often a match may go back before it counts as taking too long, and how long a text may be where that can
/// happen. Conditions come from strangers.
const BACKTRACKS: usize = 2_000;
const MAX_TEXT: usize = 2_000;
/// The most memory a compiled expression may take, in bytes; it takes as much time to make.
const SIZE: usize = 1 << 17;

/// An expression with Ruby's meaning: `^` and `$` match at every line, and `(?m)` lets the dot match newlines.
#[derive(Debug, Clone)]
enum Regex {
    /// In time that grows with the text alone.
    Linear(regex::Regex),
    /// With look-around or references, which may have to go back.
    Backtracking(Box<fancy_regex::Regex>),
}

/// An expression as it is written; it is compiled at its first use.
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
    /// The expression of this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), compiled: OnceLock::new() }
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it is an expression.
    ///
    /// # Errors
    /// When it is none, or too large a one.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.compiled().map(|_| ())
    }

    /// How much work a match is. A bit of it is for making the expression, once.
    pub(super) fn work(&self) -> usize {
        match (self.compiled.get(), self.compiled()) {
            (None, _) => 50,
            (Some(_), Ok(Regex::Backtracking(_))) => 400,
            (Some(_), _) => 5,
        }
    }

    /// Whether it matches somewhere in a text.
    ///
    /// # Errors
    /// When it is none, or would take too long.
    pub(super) fn is_match(&self, text: &str) -> Result<bool, Error> {
        match self.compiled()? {
            Regex::Linear(regex) => Ok(regex.is_match(text)),
            Regex::Backtracking(_) if text.len() > MAX_TEXT => Err(self.error()),
            Regex::Backtracking(regex) => regex.is_match(text).map_err(|_| self.error()),
        }
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
        // Look-around and references are errors to the linear one.
        Err(_) => {
            let mut builder = fancy_regex::RegexBuilder::new(&pattern);
            builder.backtrack_limit(BACKTRACKS).delegate_size_limit(SIZE).delegate_dfa_size_limit(SIZE);
            builder.build().ok().map(|regex| Regex::Backtracking(Box::new(regex)))
        }
    }
}

/// Ruby's inline option `m` is `s` here; what follows an escape stays as it is.
fn translated(pattern: &str) -> String {
    let mut translated = String::with_capacity(pattern.len());
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        translated.push(c);
        match c {
            '\\' => translated.extend(chars.next()),
            '(' if chars.peek() == Some(&'?') => {
                translated.extend(chars.next());
                while let Some(option) = chars.next_if(|c| "mix-".contains(*c)) {
                    translated.push(if option == 'm' { 's' } else { option });
                }
            }
            _ => {}
        }
    }
    translated
}
