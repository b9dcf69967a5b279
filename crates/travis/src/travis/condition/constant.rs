//! Parts of a condition that are the same in every build, because they ask for no fact.

use super::{Condition, Operand};

/// A part without facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Constant<'a> {
    /// A text that stands alone, and is true.
    Alone(&'a str),
    /// A text that is compared with other texts.
    Compared(&'a str),
}

impl Condition {
    /// Returns the first part of the condition that asks for no fact. Parts such as `false` and `1 = 2` are meant as
    /// they are.
    pub fn constant(&self) -> Option<Constant<'_>> {
        let of = |operand| text(operand).filter(|text| !is_deliberate(text));
        match self {
            Self::Or(left, right) | Self::And(left, right) => left.constant().or_else(|| right.constant()),
            Self::Not(inner) => inner.constant(),
            Self::Term(operand) => of(operand).map(Constant::Alone),
            Self::Is(operand, ..) | Self::Match(operand, Operand::Regex(_), _) => of(operand).map(Constant::Compared),
            Self::Match(..) => None,
            Self::Equal(left, right, _) => {
                let is_number = |text: &str| text.parse::<u32>().is_ok();
                let left = of(left).filter(|left| !is_number(left));
                left.filter(|_| text(right).is_some()).map(Constant::Compared)
            }
            Self::In(left, list, _) => {
                of(left).filter(|_| list.iter().all(|right| text(right).is_some())).map(Constant::Compared)
            }
        }
    }

    /// Returns true if a part such as `false` or `1 = 2` switches the condition on or off.
    pub fn is_switched(&self) -> bool {
        match self {
            Self::Or(left, right) | Self::And(left, right) => left.is_switched() || right.is_switched(),
            Self::Not(inner) => inner.is_switched(),
            Self::Term(operand) => text(operand).is_some(),
            Self::Equal(left, right, _) => text(left).is_some() && text(right).is_some(),
            _ => false,
        }
    }
}

fn text(operand: &Operand) -> Option<&str> {
    match operand {
        Operand::Text(text) => Some(text),
        _ => None,
    }
}

/// Returns true for a text that nobody takes for a fact. `0` alone is taken for false, and is true.
fn is_deliberate(text: &str) -> bool {
    text == "1" || ["true", "false"].iter().any(|word| text.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::travis::condition::parse;

    #[test]
    fn parts_that_ask_for_no_fact() {
        for (text, constant) in [
            ("master", Constant::Alone("master")),
            ("master AND tag IS present", Constant::Alone("master")),
            ("branch = master OR develop", Constant::Alone("develop")),
            ("NOT \"a b\"", Constant::Alone("a b")),
            ("0", Constant::Alone("0")),
            ("BRANCH = master", Constant::Compared("BRANCH")),
            ("branch!=master", Constant::Compared("branch")),
            ("\"$TRAVIS_TAG\" IS present", Constant::Compared("$TRAVIS_TAG")),
            ("TRAVIS_TAG =~ ^v", Constant::Compared("TRAVIS_TAG")),
            ("Type IN (push, cron)", Constant::Compared("Type")),
        ] {
            assert_eq!(parse(text).expect("a condition").constant(), Some(constant), "{text}");
        }
        for text in [
            "true",
            "false",
            "1",
            "0 = 1",
            "branch = master AND false",
            "tag",
            "env(A)",
            "master = branch",
            "a IN (branch, b)",
        ] {
            assert_eq!(parse(text).expect("a condition").constant(), None, "{text}");
        }
    }
}
