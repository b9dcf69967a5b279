//! The truth of a condition when some facts are known only in part. `None` means that it may be true or false.

use super::facts::{KINDS, Value, World, fact};
use crate::travis::condition::{Condition, Operand, Pattern, Predicate};

pub(super) fn truth(condition: &Condition, world: &World<'_>) -> Option<bool> {
    match condition {
        Condition::Or(left, right) => any([truth(left, world), truth(right, world)]),
        Condition::And(left, right) => all([truth(left, world), truth(right, world)]),
        Condition::Not(inner) => Some(!truth(inner, world)?),
        Condition::Term(operand) => match value(operand, world) {
            Value::Unknown => None,
            value => Some(!matches!(value, Value::Missing | Value::Bool(false))),
        },
        Condition::Equal(left, right, not) => Some(equal(left, right, world)? != *not),
        Condition::In(left, list, not) => Some(any(list.iter().map(|right| equal(left, right, world)))? != *not),
        Condition::Is(operand, predicate, not) => Some(is(&value(operand, world), *predicate)? != *not),
        Condition::Match(_, Operand::Missing, not) => Some(*not),
        Condition::Match(left, Operand::Regex(pattern), not) => Some(matches(left, pattern, world)? != *not),
        Condition::Match(left, _, not) => (value(left, world) == Value::Missing).then_some(*not),
    }
}

/// Returns true if one of the truths is true, and false if all are false.
pub fn any(truths: impl IntoIterator<Item = Option<bool>>) -> Option<bool> {
    let mut result = Some(false);
    for truth in truths {
        match truth {
            Some(true) => return truth,
            Some(false) => {}
            None => result = None,
        }
    }
    result
}

/// Returns true if all truths are true, and false if one of them is false.
pub fn all(truths: impl IntoIterator<Item = Option<bool>>) -> Option<bool> {
    any(truths.into_iter().map(|truth| Some(!truth?))).map(|any| !any)
}

fn value(operand: &Operand, world: &World<'_>) -> Value {
    match operand {
        Operand::Text(text) => Value::of(text),
        _ => fact(operand).map_or(Value::Unknown, |fact| world.value(&fact)),
    }
}

fn equal(left: &Operand, right: &Operand, world: &World<'_>) -> Option<bool> {
    match (value(left, world), value(right, world)) {
        (Value::Unknown, _) | (_, Value::Unknown) => None,
        (Value::Other(one), Value::Other(other)) => (one == other).then_some(true),
        // The fact was compared with this text, and has another one.
        (Value::Other(_), _) if matches!(right, Operand::Text(_)) => Some(false),
        (_, Value::Other(_)) if matches!(left, Operand::Text(_)) => Some(false),
        // `type = tag` asks for a tag that is called `push`.
        (Value::Other(name), Value::Text(text)) | (Value::Text(text), Value::Other(name)) => {
            (matches!(name.as_str(), "branch" | "tag") && KINDS.contains(&text.as_str())).then_some(false)
        }
        (left, right) => Some(left == right),
    }
}

fn is(value: &Value, predicate: Predicate) -> Option<bool> {
    let is_present = match value {
        Value::Unknown => return None,
        Value::Missing => false,
        Value::Bool(bool) => *bool,
        Value::Text(text) => !text.trim().is_empty(),
        Value::Other(_) => true,
    };
    Some(match predicate {
        Predicate::Present => is_present,
        Predicate::Blank => !is_present,
        Predicate::True => *value == Value::Bool(true),
        Predicate::False => *value == Value::Bool(false),
    })
}

fn matches(left: &Operand, pattern: &Pattern, world: &World<'_>) -> Option<bool> {
    match value(left, world) {
        Value::Unknown => None,
        Value::Missing => Some(false),
        Value::Bool(bool) => pattern.is_match(&bool.to_string()).ok(),
        Value::Text(text) => pattern.is_match(&text).ok(),
        Value::Other(_) => pattern.alternatives().map(|_| false),
    }
}
