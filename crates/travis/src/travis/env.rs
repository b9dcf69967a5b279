//! Strings of environment variables, which Travis parses twice.
//!
//! [`pairs`] is the first parse, when the file is read (svenfuchs/sh_vars): shell words, with quotes and substitutions
//! kept as they are written. [`exports`] is the second, when the script is compiled (travis-build env/var.rb): a
//! looser pattern, by which a value that is not quoted ends at the first blank or quote.

use std::iter::Peekable;
use std::str::Chars;

/// The reason why a string is not a list of variables, and the mend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotVariables {
    #[error("a quote or a substitution in it is not closed: close it")]
    Unclosed,
    #[error("no name stands before `=`: write one")]
    NoName,
    #[error("a blank stands before `=`: write `=` without blanks beside it")]
    BlankBeforeEquals,
}

/// Returns the variables in `text`, with their values as written.
///
/// # Errors
/// Fails when the text is not a list of variables.
pub fn pairs(text: &str) -> Result<Vec<(String, String)>, NotVariables> {
    Ok(words(text)?.into_iter().map(|(name, value)| (name, value.unwrap_or_default())).collect())
}

/// Works like [`pairs`]. A word without `=`, which becomes an empty variable, has no value.
///
/// # Errors
/// Fails when the text is not a list of variables.
pub fn words(text: &str) -> Result<Vec<(String, Option<String>)>, NotVariables> {
    let mut scanner = Scanner { rest: text.chars().peekable(), depth: 0 };
    let mut words: Vec<(String, Option<String>)> = Vec::new();
    loop {
        while scanner.rest.next_if(|c| c.is_whitespace()).is_some() {}
        match scanner.rest.peek() {
            None => return Ok(words),
            Some('"') => words.push(scanner.unwrapped_pair()?),
            Some('=') if words.last().is_some_and(|(_, value)| value.is_none()) => {
                return Err(NotVariables::BlankBeforeEquals);
            }
            Some(_) => words.push(scanner.pair()?),
        }
    }
}

struct Scanner<'a> {
    rest: Peekable<Chars<'a>>,
    depth: usize,
}

/// Maximum length of a value that is parsed a second time: a quote at every place of it makes that slow.
const MAX_BYTES: usize = 10_000;
/// Maximum nesting depth of quotes and substitutions.
const MAX_DEPTH: usize = 50;

impl Scanner<'_> {
    fn pair(&mut self) -> Result<(String, Option<String>), NotVariables> {
        let key = self.word(|c| c == '=' || c.is_whitespace())?;
        if self.rest.next_if_eq(&'=').is_none() {
            return Ok((key, None));
        }
        if key.is_empty() {
            return Err(NotVariables::NoName);
        }
        Ok((key, Some(self.word(char::is_whitespace)?)))
    }

    /// Reads a pair that is in double quotes as a whole, without these quotes.
    fn unwrapped_pair(&mut self) -> Result<(String, Option<String>), NotVariables> {
        let mut word = String::new();
        word.extend(self.rest.next());
        self.until('"', true, &mut word)?;
        let inner = word.strip_prefix('"').and_then(|word| word.strip_suffix('"')).unwrap_or_default();
        let inner = inner.replace("\\\"", "\"");
        Scanner { rest: inner.chars().peekable(), depth: self.depth }.pair()
    }

    /// Reads a word up to a character, outside of quotes and substitutions, that `ends` it.
    fn word(&mut self, ends: impl Fn(char) -> bool) -> Result<String, NotVariables> {
        let mut word = String::new();
        while let Some(c) = self.rest.next_if(|c| !ends(*c)) {
            word.push(c);
            match c {
                '\\' => word.extend(self.rest.next()),
                '\'' => self.until('\'', false, &mut word)?,
                '"' => self.until('"', true, &mut word)?,
                '`' => self.until('`', true, &mut word)?,
                '$' => self.substitution(&mut word)?,
                _ => {}
            }
        }
        Ok(word)
    }

    fn substitution(&mut self, word: &mut String) -> Result<(), NotVariables> {
        let close = match self.rest.peek() {
            Some('(') => ')',
            Some('{') => '}',
            _ => return Ok(()),
        };
        word.extend(self.rest.next());
        self.until(close, true, word)
    }

    /// Reads the text up to and including `close`. Single quotes keep everything; the others nest.
    fn until(&mut self, close: char, nests: bool, word: &mut String) -> Result<(), NotVariables> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(NotVariables::Unclosed);
        }
        while let Some(c) = self.rest.next() {
            word.push(c);
            if c == close {
                self.depth -= 1;
                return Ok(());
            }
            match c {
                _ if !nests => {}
                '\\' => word.extend(self.rest.next()),
                '"' => self.until('"', true, word)?,
                '\'' if close != '"' => self.until('\'', false, word)?,
                // Outside of quotes, `$'…'` would be a separate string; sh_vars rejects it within quotes.
                '$' if close == '"' && self.rest.peek() == Some(&'\'') => return Err(NotVariables::Unclosed),
                '$' => self.substitution(word)?,
                _ => {}
            }
        }
        Err(NotVariables::Unclosed)
    }
}

/// Returns the variables that bash exports for the variable `key` whose value is written as `value`.
pub fn exports(key: &str, value: &str) -> Vec<(String, String)> {
    if value.len() > MAX_BYTES {
        return vec![(key.to_owned(), value.to_owned())];
    }
    let line = format!("{key}={value}");
    let mut found = Vec::new();
    let mut rest = line.as_str();
    while let Some(equals) = rest.find('=') {
        let name_start = rest[..equals].rfind(|c: char| !is_word(c)).map_or(0, |i| i + char_len(rest, i));
        let name = &rest[name_start..equals];
        let after = &rest[equals + 1..];
        if name.is_empty() {
            rest = after;
            continue;
        }
        let length = value_length(after);
        found.push((name.to_owned(), after[..length].to_owned()));
        rest = &after[length..];
    }
    found
}

/// Returns the part of a value that bash gets for a variable with a proper name.
pub fn taken(value: &str) -> &str {
    &value[..value_length(value)]
}

fn char_len(text: &str, at: usize) -> usize {
    text[at..].chars().next().map_or(1, char::len_utf8)
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Returns the length in bytes of the value at the start of `text`, by the second parse.
fn value_length(text: &str) -> usize {
    if let Some(quote) = text.chars().next().filter(|c| matches!(c, '"' | '\''))
        && let Some(end) = closing_quote(&text[1..], quote)
    {
        return end + 2;
    }
    if text.starts_with("$(")
        && let Some(i) = text.find(')')
    {
        return i + 1;
    }
    if let Some(inner) = text.strip_prefix('`')
        && let Some(i) = inner.find('`')
    {
        return i + 2;
    }
    text.find(|c: char| c.is_whitespace() || c == '"' || c == '\'').unwrap_or(text.len())
}

/// Finds the closing quote: the first that is not escaped and is followed by a blank, `;` or the end.
fn closing_quote(text: &str, quote: char) -> Option<usize> {
    let ends = |c: char| c.is_whitespace() || c == ';';
    let closes =
        |(at, _): &(usize, &str)| !text[..*at].ends_with('\\') && text[at + 1..].chars().next().is_none_or(ends);
    text.match_indices(quote).find(closes).map(|(at, _)| at)
}
