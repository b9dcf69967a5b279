//! The tests of `on: condition:`, which bash evaluates in `[[ … ]]`, as far as they ask for facts of the build.

mod parse;

use crate::travis::condition::Pattern;
use crate::travis::condition::possible::{Event, Facts, Value, all, any};

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

    /// Returns true if the test asks for nothing, so that its result is always the same.
    pub(super) fn is_constant(&self) -> bool {
        let is_text = |word: &Word| matches!(word, Word::Text(_) | Word::Glob(_));
        match self {
            Self::Or(left, right) | Self::And(left, right) => left.is_constant() && right.is_constant(),
            Self::Not(inner) => inner.is_constant(),
            Self::Present(word) | Self::Match(word, _) => is_text(word),
            Self::Equal(left, right) => is_text(left) && is_text(right),
            Self::Unknown => false,
        }
    }

    /// Returns the result in a deployment of this event's build.
    pub(super) fn holds(&self, event: &Event) -> Option<bool> {
        match self {
            Self::Or(left, right) => any([left.holds(event), right.holds(event)]),
            Self::And(left, right) => all([left.holds(event), right.holds(event)]),
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
