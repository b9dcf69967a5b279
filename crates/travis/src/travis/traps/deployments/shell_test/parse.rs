//! Parser for the tests.

use super::{Test, Word};
use crate::travis::condition::Pattern;
use crate::travis::shell::is_name;
use crate::travis::traps::shell::is_word;

/// Maximum nesting depth, and maximum length in bytes.
const MAX_DEPTH: usize = 20;
const MAX_BYTES: usize = 2_000;

impl Test {
    /// Parses a test; `None` when it has a form that is not known here.
    pub(in crate::travis::traps) fn parse(text: &str) -> Option<Self> {
        let mut parser = Parser { rest: text, depth: 0 };
        let test = (text.len() <= MAX_BYTES).then(|| parser.or())??;
        parser.blanks();
        parser.rest.is_empty().then_some(test)
    }
}

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// Consumes this many bytes.
    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        taken
    }

    /// Consumes an operator after blanks.
    fn operator(&mut self, operator: &str) -> bool {
        self.blanks();
        let rest = self.rest.strip_prefix(operator);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn or(&mut self) -> Option<Test> {
        let mut left = self.and()?;
        while self.operator("||") {
            left = Test::Or(Box::new(left), Box::new(self.and()?));
        }
        Some(left)
    }

    fn and(&mut self) -> Option<Test> {
        let mut left = self.not()?;
        while self.operator("&&") {
            left = Test::And(Box::new(left), Box::new(self.not()?));
        }
        Some(left)
    }

    fn not(&mut self) -> Option<Test> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return None;
        }
        let test = if self.operator("! ") {
            Test::Not(Box::new(self.not()?))
        } else if self.operator("(") {
            let inner = self.or()?;
            self.operator(")").then_some(inner)?
        } else {
            self.test()?
        };
        self.depth -= 1;
        Some(test)
    }

    fn test(&mut self) -> Option<Test> {
        self.blanks();
        if self.rest.starts_with('-') {
            let option = self.take(self.rest.find(char::is_whitespace)?);
            let word = self.word()?;
            return Some(match option {
                "-n" => Test::Present(word),
                "-z" => Test::Not(Box::new(Test::Present(word))),
                _ => Test::Unknown,
            });
        }
        let left = self.word()?;
        if self.operator("=~") {
            let pattern = self.pattern()?;
            // What is no expression of bash could take long here.
            let is_foreign = pattern.contains("(?") || has_reference(pattern);
            let is_plain = !pattern.contains(['"', '\'', '`']) && !has_variable(pattern) && !is_foreign;
            return Some(if is_plain { Test::Match(left, Pattern::new(pattern)) } else { Test::Unknown });
        }
        for (operator, not) in [("==", false), ("!=", true), ("=", false)] {
            if self.operator(operator) {
                let equal = Test::Equal(left, self.word()?);
                return Some(if not { Test::Not(Box::new(equal)) } else { equal });
            }
        }
        if self.rest.starts_with('-') {
            // A comparison of numbers or files.
            self.word()?;
            self.word()?;
            return Some(Test::Unknown);
        }
        Some(Test::Present(left))
    }

    /// Consumes the expression behind `=~`, up to a blank or parenthesis outside of its own parentheses.
    fn pattern(&mut self) -> Option<&'a str> {
        self.blanks();
        let (mut open, mut escaped) = (0_usize, false);
        let ends = |(_, c): &(usize, char)| {
            let ends = !escaped && open == 0 && (c.is_whitespace() || *c == ')');
            match c {
                '(' if !escaped => open += 1,
                ')' if !escaped => open = open.saturating_sub(1),
                _ => {}
            }
            escaped = !escaped && *c == '\\';
            ends
        };
        let length = self.rest.char_indices().find(ends).map_or(self.rest.len(), |(at, _)| at);
        Some(self.take(length)).filter(|pattern| !pattern.is_empty())
    }

    /// Consumes a word after blanks.
    fn word(&mut self) -> Option<Word> {
        self.blanks();
        let before = self.rest;
        let mut word = Pieces::default();
        let mut quote = None;
        while let Some(c) = self.rest.chars().next() {
            if quote.is_none() && (c.is_whitespace() || "()<>&|;".contains(c)) {
                break;
            }
            self.take(c.len_utf8());
            match (quote, c) {
                (None, '"' | '\'') => quote = Some(c),
                (Some(open), _) if c == open => quote = None,
                (None | Some('"'), '$') => word.variables.push(self.variable()?),
                (None | Some('"'), '`') | (None, '[') => return None,
                (None, '*' | '?') => word.globs(c),
                (None | Some('"'), '\\') => {
                    let escaped = self.rest.chars().next()?;
                    self.take(escaped.len_utf8());
                    word.literal(escaped);
                }
                _ => word.literal(c),
            }
        }
        (quote.is_none() && self.rest.len() < before.len()).then(|| word.joined())
    }

    /// Consumes the name of a variable; a substitution has no name that is known here.
    fn variable(&mut self) -> Option<&'a str> {
        let name = match self.rest.strip_prefix('{') {
            Some(inner) => {
                let (name, rest) = inner.split_once('}')?;
                self.rest = rest;
                name
            }
            None => self.take(self.rest.find(|c: char| !is_word(c)).unwrap_or(self.rest.len())),
        };
        is_name(name).then_some(name)
    }
}

/// The parts of a word.
#[derive(Default)]
struct Pieces<'a> {
    plain: String,
    /// The word as an expression, without its ends.
    glob: String,
    is_glob: bool,
    variables: Vec<&'a str>,
}

impl Pieces<'_> {
    fn literal(&mut self, c: char) {
        self.plain.push(c);
        self.glob.push_str(&fancy_regex::escape(c.encode_utf8(&mut [0; 4])));
    }

    fn globs(&mut self, c: char) {
        self.is_glob = true;
        self.glob.push_str(if c == '*' { ".*" } else { "." });
    }

    fn joined(self) -> Word {
        match self.variables.as_slice() {
            [] if self.is_glob => Word::Glob(Pattern::new(format!("^{}$", self.glob))),
            [] => Word::Text(self.plain),
            [name] if !self.is_glob && self.plain.is_empty() => Word::Variable((*name).to_owned()),
            _ => Word::Unknown,
        }
    }
}

/// Returns true if an expression refers to one of its groups.
fn has_reference(pattern: &str) -> bool {
    pattern.split('\\').skip(1).any(|rest| rest.starts_with(|c: char| c.is_ascii_digit() || c == 'k'))
}

/// Returns true if an expression holds a variable; `$` at its end or before a parenthesis is an anchor.
fn has_variable(pattern: &str) -> bool {
    pattern.split('$').skip(1).any(|rest| rest.starts_with(|c: char| is_word(c) || c == '{'))
}
