//! Rules on values that a trainer cannot use, as its own loader reads them.

use super::{Config, Map, finding};
use crate::domain::Severity;
use crate::keys::{Kind, Spec, table};
use crate::tree::{Entry, Node, Value};
use crate::{Dialect, Finding};

/// Finds values of the wrong type, words that are not allowed, and numbers out of range.
pub(super) fn wrong_values(config: &Config<'_>) -> Vec<Finding> {
    let of_map = |map: &Map<'_>| -> Vec<Finding> {
        let Some(section) = table(config.dialect).section(&map.path) else { return Vec::new() };
        let known = map.entries.iter().filter_map(|entry| Some((*entry, section.get(entry.name())?)));
        known.filter_map(|(entry, spec)| wrong_value(config.dialect, map, entry, spec)).collect()
    };
    config.maps.iter().flat_map(of_map).collect()
}

fn wrong_value(dialect: Dialect, map: &Map<'_>, entry: &Entry, spec: &Spec) -> Option<Finding> {
    let key = entry.name();
    let say = |rule, severity, message| Some(finding(rule, severity, message, entry.node.at, map.path_of(key)));
    if !entry.node.is_given() || is_filled_in_later(&entry.node) || spec.kinds == [Kind::Any] {
        return None;
    }
    if !spec.kinds.iter().any(|kind| fits(*kind, &entry.node, dialect.converts_texts())) {
        let (severity, message) = wrong_type(key, entry, spec);
        return say("wrong-type", severity, message);
    }
    if let (Some(text), false) = (entry.node.text(), spec.words.is_empty()) {
        let converts =
            dialect.converts_texts() && spec.kinds.iter().any(|kind| *kind != Kind::Text && read(*kind, text));
        if !converts && !spec.words.contains(&text) {
            let words = spec.words.iter().filter(|word| !word.is_empty()).copied().collect::<Vec<_>>().join(", ");
            return say("enum", Severity::Error, format!("{key} must be one of {words}"));
        }
    }
    let numbers: Vec<f64> = std::iter::once(&entry.node).chain(entry.node.items()).filter_map(number).collect();
    let outside = |range: crate::keys::Range| numbers.iter().copied().find(|number| !range.holds(*number));
    if let Some((range, number)) = spec.range.and_then(|range| Some((range, outside(range)?))) {
        let message = format!("{key} is {number}, which cannot work: give it {}", range.in_words());
        return say("out-of-range", Severity::Error, message);
    }
    let (range, number) = spec.usual.and_then(|range| Some((range, outside(range)?)))?;
    let message = format!("{key} is {number}, which rarely works: {} is usual", range.in_words());
    say("out-of-range", Severity::Warning, message)
}

/// Returns true if the value contains a placeholder that is filled in before the trainer sees it.
fn is_filled_in_later(node: &Node) -> bool {
    node.text().is_some_and(|text| ["${", "{{", "<"].iter().any(|mark| text.contains(mark)))
}

fn fits(kind: Kind, node: &Node, converts: bool) -> bool {
    match (kind, &node.value) {
        (Kind::Any, _)
        | (Kind::Bool, Value::Bool(_))
        | (Kind::Float, Value::Number { .. })
        | (Kind::Int, Value::Number { whole: true, .. })
        | (Kind::Decimal, Value::Number { whole: false, .. })
        | (Kind::Text, Value::Text { .. })
        | (Kind::List, Value::List(_))
        | (Kind::Map, Value::Map(_)) => true,
        (Kind::Int, Value::Number { value, .. }) => converts && value.fract() == 0.0,
        (Kind::Bool, Value::Number { value, .. }) => converts && (*value == 0.0 || *value == 1.0),
        (Kind::Text, Value::Number { .. } | Value::Bool(_)) => converts,
        (_, Value::Text { text, .. }) => converts && read(kind, text),
        _ => false,
    }
}

/// Returns true if a trainer that converts strings accepts this one as a value of this kind.
fn read(kind: Kind, text: &str) -> bool {
    match kind {
        Kind::Int => text.trim().parse::<f64>().is_ok_and(|number| number.fract() == 0.0),
        Kind::Float | Kind::Decimal => text.trim().parse::<f64>().is_ok(),
        Kind::Bool => ["true", "false", "yes", "no", "on", "off", "0", "1"].contains(&text.to_lowercase().as_str()),
        Kind::Any | Kind::Text => true,
        Kind::List | Kind::Map => false,
    }
}

fn number(node: &Node) -> Option<f64> {
    match &node.value {
        Value::Number { value, .. } => Some(*value),
        Value::Text { text, .. } => text.trim().parse().ok(),
        _ => None,
    }
}

/// Returns the severity and the message. The message repeats the value only where it cannot be a secret.
fn wrong_type(key: &str, entry: &Entry, spec: &Spec) -> (Severity, String) {
    let wanted = spec.kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(" or ");
    let takes_numbers = spec.kinds.iter().any(|kind| matches!(kind, Kind::Int | Kind::Float));
    match &entry.node.value {
        Value::Text { text, plain: true } if takes_numbers && text.parse::<f64>().is_ok() => {
            let better = dotted(text);
            // Only a warning, as for the words below: many trainers of this dialect convert the value themselves.
            (
                Severity::Warning,
                format!("{text} without a dot is a string to PyYAML, not a number: write {key}: {better}"),
            )
        }
        Value::Text { text, .. } if takes_numbers && text.trim().parse::<f64>().is_ok() => {
            (Severity::Error, format!("{key} is a string here, but must be {wanted}: remove the quotes"))
        }
        Value::Bool(is) if spec.words.iter().any(|word| ["no", "yes", "on", "off"].contains(word)) => {
            (Severity::Warning, format!("{key} is {is} to PyYAML, not a string: write the word in quotes"))
        }
        value => {
            let found = match value {
                Value::Bool(_) => "true or false",
                Value::Number { whole: true, .. } => "an integer",
                Value::Number { .. } => "a number",
                Value::Text { .. } => "a string",
                Value::List(_) => "a list",
                Value::Map(_) => "a map",
                Value::Null => "nothing",
            };
            (Severity::Error, format!("{key} is {found}, but must be {wanted}"))
        }
    }
}

/// Rewrites a number so that PyYAML reads it as one: with a dot, and a sign in the exponent.
fn dotted(text: &str) -> String {
    let Some((mantissa, exponent)) = text.split_once(['e', 'E']) else { return format!("{text}.0") };
    let dot = if mantissa.contains('.') { "" } else { ".0" };
    let sign = if exponent.starts_with(['-', '+']) { "" } else { "+" };
    format!("{mantissa}{dot}e{sign}{exponent}")
}
