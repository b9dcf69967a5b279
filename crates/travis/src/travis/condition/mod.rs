//! The language of `if:` (travis-conditions v1).
//!
//! ```text
//! expr    := and { OR and }                  and  := operand-or-not { AND … }
//! term    := operand [ [NOT] IN (list) | IS [NOT] predicate | =~ regex | !~ regex | = operand | != operand ]
//! operand := variable | env(…) | concat(…) | "quoted" | word
//! ```
//!
//! As Travis's parser, this one takes some expressions that somebody has not written to their end: a list that ends with
//! a comma, `env()`, `IN` without a list, `=~` without an expression, `IS` without a predicate, and `/…` without its last
//! slash.

mod constant;
mod eval;
mod parse;
pub mod possible;
mod regex;

pub use constant::Constant;
pub use eval::Data;
pub use parse::{MAX_BYTES, on_one_line, parse, variables};
pub use regex::Pattern;

/// A parsed condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// At least one of both holds.
    Or(Box<Self>, Box<Self>),
    /// Both hold.
    And(Box<Self>, Box<Self>),
    /// The opposite of a condition.
    Not(Box<Self>),
    /// An operand that is neither missing nor false.
    Term(Operand),
    /// Equality; the flag is for `!=`.
    Equal(Operand, Operand, bool),
    /// A regular expression matches; the flag is for `!~`.
    Match(Operand, Operand, bool),
    /// Membership in a list, which is empty if it was left out; the flag is for `NOT IN`.
    In(Operand, Vec<Operand>, bool),
    /// A predicate; the flag is for `IS NOT`.
    Is(Operand, Predicate, bool),
}

/// A value in a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operand {
    /// A fact of the build, such as `branch`.
    Variable(String),
    /// A literal text.
    Text(String),
    /// A regular expression.
    Regex(Pattern),
    /// `env(NAME)`.
    Env(Vec<Self>),
    /// `concat(…)`.
    Concat(Vec<Self>),
    /// A regular expression that was left out.
    Missing,
}

impl Operand {
    fn names(&self, is: &dyn Fn(&Self) -> bool) -> bool {
        match self {
            Self::Env(args) | Self::Concat(args) => is(self) || args.iter().any(|operand| operand.names(is)),
            Self::Variable(_) | Self::Text(_) | Self::Regex(_) | Self::Missing => is(self),
        }
    }
}

/// The question that `IS` asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Predicate {
    /// Neither missing, nor empty, nor false.
    Present,
    /// The opposite of present.
    Blank,
    /// True.
    True,
    /// False.
    False,
}

/// The reason why a condition has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The condition does not follow the grammar; the rest of it begins at this byte of [`on_one_line`]'s text.
    #[error("it cannot be read from byte {0} on")]
    Syntax(usize),
    /// The condition uses `$NAME` of the shell, at this byte.
    #[error(
        "Strings cannot start with a dollar (shell code does not work). This can be bypassed by quoting the string."
    )]
    Dollar(usize),
    /// The regular expression is invalid, or takes too long.
    #[error("Invalid regular expression: /{0}/")]
    Regex(String),
}

impl Error {
    /// Returns what Travis adds to "invalid condition", if anything.
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::Syntax(_) => None,
            Self::Dollar(_) | Self::Regex(_) => Some(self.to_string()),
        }
    }
}

/// Returns true if a text matches one of Ruby's regular expressions.
///
/// # Errors
/// Fails when the expression is invalid or takes too long.
pub fn is_match(pattern: &str, text: &str) -> Result<bool, Error> {
    Pattern::new(pattern).is_match(text)
}

impl Condition {
    /// Returns true if `is` returns true for any operand in the condition.
    pub fn names(&self, is: &dyn Fn(&Operand) -> bool) -> bool {
        match self {
            Self::Or(left, right) | Self::And(left, right) => left.names(is) || right.names(is),
            Self::Not(inner) => inner.names(is),
            Self::Term(operand) | Self::Is(operand, ..) => operand.names(is),
            Self::Equal(left, right, _) | Self::Match(left, right, _) => left.names(is) || right.names(is),
            Self::In(left, list, _) => left.names(is) || list.iter().any(|operand| operand.names(is)),
        }
    }

    /// Returns the amount of work of an evaluation. Each regular expression has its own amount; anything else counts
    /// one.
    pub fn work(&self) -> usize {
        // An expression that is put together for each evaluation is compiled each time, too.
        const CALLED: usize = 100;
        match self {
            Self::Or(left, right) | Self::And(left, right) => left.work() + right.work(),
            Self::Not(inner) => inner.work(),
            Self::Match(_, Operand::Regex(pattern), _) => pattern.work(),
            Self::Match(..) => CALLED,
            Self::Term(_) | Self::Equal(..) | Self::In(..) | Self::Is(..) => 1,
        }
    }

    /// Checks the regular expressions that are written in the condition.
    ///
    /// # Errors
    /// For the first expression that is invalid.
    pub fn check(&self) -> Result<(), Error> {
        match self {
            Self::Or(left, right) | Self::And(left, right) => left.check().and_then(|()| right.check()),
            Self::Not(inner) => inner.check(),
            Self::Match(_, Operand::Regex(pattern), _) => pattern.check(),
            _ => Ok(()),
        }
    }
}
