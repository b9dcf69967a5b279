//! The tests of `on: condition:`, which bash evaluates in `[[ … ]]`, as far as they ask for facts of the build.

use crate::travis::condition::Pattern;
use crate::travis::condition::possible::{Event, Facts, Value};
use crate::travis::shell::is_name;
use crate::travis::traps::shell::is_word;

/// Maximum nesting depth, and maximum length in bytes.
const MAX_DEPTH: usize = 20;
const MAX_BYTES: usize = 2_000;

/// A test.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Test {
    Or(Box<Self>, Box<Self>),
    And(Box<Self>, Box<Self>),
    Not(Box<Self>),
    /// The word is not empty.
    Present(Word),
    Equal(Word, Word),
    Match(Word, Pattern),
    /// A test of something else, such as a file.
    Unknown,
}

/// A word of the test.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Word {
    Text(String),
    /// A text with `*` or `?` outside of quotes.
    Glob(Pattern),
    Variable(String),
    Unknown,
}

impl Test {
    /// Parses a test; `None` when it has a form that is not known here.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parser = Parser { rest: text, depth: 0 };
        let test = (text.len() <= MAX_BYTES).then(|| parser.or())??;
        parser.blanks();
        parser.rest.is_empty().then_some(test)
    }

    /// Adds the texts with which the test compares a branch or tag.
    pub(super) fn add_to(&self, facts: &mut Facts) {
        match self {
            Self::Or(left, right) | Self::And(left, right) => {
                left.add_to(facts);
                right.add_to(facts);
            }
            Self::Not(inner) => inner.add_to(facts),
            Self::Equal(left, right) => {
                for (one, other) in [(left, right), (right, left)] {
                    match (one, other) {
                        (Word::Variable(name), Word::Text(text)) if name == "TRAVIS_BRANCH" => {
                            facts.add("branch", text)
                        }
                        (Word::Variable(name), Word::Text(text)) if name == "TRAVIS_TAG" => facts.add("tag", text),
                        _ => {}
                    }
                }
            }
            Self::Match(Word::Variable(name), pattern) if name == "TRAVIS_BRANCH" => {
                pattern.alternatives().into_iter().flatten().for_each(|text| facts.add("branch", text));
            }
            Self::Match(Word::Variable(name), pattern) if name == "TRAVIS_TAG" => {
                pattern.alternatives().into_iter().flatten().for_each(|text| facts.add("tag", text));
            }
            _ => {}
        }
    }

    /// Returns the result in a deployment of this event's build.
    pub(super) fn holds(&self, event: &Event) -> Option<bool> {
        match self {
            Self::Or(left, right) => match (left.holds(event), right.holds(event)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
            Self::And(left, right) => match (left.holds(event), right.holds(event)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Self::Not(inner) => Some(!inner.holds(event)?),
            Self::Present(word) => match word.value(event) {
                Value::Text(text) => Some(!text.is_empty()),
                Value::Other(_) => Some(true),
                _ => None,
            },
            Self::Equal(left, Word::Glob(pattern)) | Self::Match(left, pattern) => match left.value(event) {
                Value::Text(text) => pattern.is_match(&text).ok(),
                Value::Other(_) => pattern.alternatives().map(|_| false),
                _ => None,
            },
            Self::Equal(left, right) => match (left.value(event), right.value(event)) {
                (Value::Text(left), Value::Text(right)) => Some(left == right),
                (Value::Other(_), Value::Text(_)) | (Value::Text(_), Value::Other(_)) => Some(false),
                (Value::Other(left), Value::Other(right)) => (left == right).then_some(true),
                _ => None,
            },
            Self::Unknown => None,
        }
    }
}

impl Word {
    fn value(&self, event: &Event) -> Value {
        let text = |text: &str| Value::Text(text.to_owned());
        match self {
            Self::Text(word) => text(word),
            Self::Glob(_) | Self::Unknown => Value::Unknown,
            Self::Variable(name) => match name.as_str() {
                "TRAVIS_BRANCH" => event.branch.clone(),
                "TRAVIS_TAG" if event.tag == Value::Missing => text(""),
                "TRAVIS_TAG" => event.tag.clone(),
                "TRAVIS_EVENT_TYPE" => text(event.kind),
                // A deployment needs a build that passed and is not one of a pull request.
                "TRAVIS_PULL_REQUEST" => text("false"),
                "TRAVIS_PULL_REQUEST_BRANCH" | "TRAVIS_PULL_REQUEST_SHA" | "TRAVIS_PULL_REQUEST_SLUG" => text(""),
                "TRAVIS_TEST_RESULT" => text("0"),
                "CI" | "TRAVIS" | "CONTINUOUS_INTEGRATION" => text("true"),
                _ => Value::Unknown,
            },
        }
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
            let is_plain = !pattern.contains(['"', '\'', '`']) && !has_variable(pattern);
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

/// Returns true if an expression holds a variable; `$` at its end or before a parenthesis is an anchor.
fn has_variable(pattern: &str) -> bool {
    pattern.split('$').skip(1).any(|rest| rest.starts_with(|c: char| is_word(c) || c == '{'))
}
