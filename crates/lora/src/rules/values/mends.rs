//! Mends of values that are certain: quotes, the form of numbers, words in another case or with a slip.

use super::fits;
use crate::dialect::Conversion;
use crate::domain::only_near;
use crate::keys::{Kind, Spec};
use crate::tree::{Node, Value};
use crate::yaml::Mend;
use crate::yaml::{Boolean, Mark, is_null};

/// Returns the mend of a value of the wrong type, if the same value in another form is right.
pub(super) fn of_type(node: &Node, conversion: Conversion, spec: &Spec) -> Option<Mend> {
    let is_right = |value: Value| {
        let node = Node { value, at: Mark::default() };
        spec.kinds.iter().any(|kind| fits(*kind, &node, conversion, spec))
    };
    match &node.value {
        Value::Text { text, plain } => {
            if let Some(new) = integer(text).filter(|new| is_right(whole(*new))) {
                return Some(changed(text, new.to_string(), *plain));
            }
            if is_number(text) {
                let new = if text.contains(['e', 'E']) { dotted(text) } else { text.clone() };
                let value = new.parse().ok()?;
                let is_right = is_right(Value::Number { value, whole: !new.contains('.') });
                return is_right.then(|| changed(text, new, *plain));
            }
            let boolean = Boolean::Yaml11.of(&text.to_lowercase()).filter(|is| is_right(Value::Bool(*is)))?;
            (!plain).then(|| changed(text, boolean.to_string(), false))
        }
        Value::Number { value, whole: false } => {
            let value = whole_of(*value).filter(|value| is_right(whole(*value)))?;
            Some(Mend::Integer { value })
        }
        Value::Bool(_) if !spec.words.is_empty() => Some(Mend::Quote { words: spec.words.clone() }),
        Value::Number { .. } if spec.kinds == [Kind::Text] => Some(Mend::Quote { words: spec.words.clone() }),
        _ => None,
    }
}

fn whole(value: i64) -> Value {
    Value::Number { value: value as f64, whole: true }
}

/// Returns the integer that a text stands for in the form of another number, such as 1e3.
fn integer(text: &str) -> Option<i64> {
    whole_of(text.parse().ok()?).filter(|_| is_number(text) && text.contains(['.', 'e', 'E']))
}

/// Returns a number as an integer if it is one that keeps all its digits.
fn whole_of(value: f64) -> Option<i64> {
    (value.fract() == 0.0 && value.abs() < 1e15).then_some(value as i64)
}

/// Returns the mend of a truth value in quotes.
pub(super) fn of_boolean(node: &Node) -> Option<Mend> {
    let text = node.text()?;
    let boolean = Boolean::Yaml11.of(&text.to_lowercase())?;
    Some(changed(text, boolean.to_string(), false))
}

/// Returns the mend of a word that the trainer does not accept, if only one accepted word can be meant.
pub(super) fn of_word(node: &Node, spec: &Spec) -> Option<Mend> {
    let Value::Text { text, plain } = &node.value else { return None };
    if spec.words.iter().any(|word| word == "*") {
        return None;
    }
    let meant = only_near(text, spec.words.iter().map(String::as_str)).filter(|meant| !meant.contains('*'))?;
    let is_text = Boolean::Yaml11.of(meant).is_none() && !is_null(meant) && meant.parse::<f64>().is_err();
    let new = if *plain && !is_text { format!("\"{meant}\"") } else { meant.to_owned() };
    Some(Mend::word(text, &new))
}

fn changed(old: &str, new: String, plain: bool) -> Mend {
    if plain { Mend::word(old, &new) } else { Mend::Unquote { old: old.into(), new: new.into() } }
}

/// Returns true for a decimal number that YAML, TOML and JSON have in this form, save for the dot before an exponent.
fn is_number(text: &str) -> bool {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).map_or((unsigned, "1"), |(a, b)| (a, b));
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_octal = whole.len() > 1 && whole.starts_with('0');
    digits(whole) && !is_octal && digits(part) && digits(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))
}

/// Rewrites a number so that PyYAML reads it as one: with a dot, and a sign in the exponent.
pub(super) fn dotted(text: &str) -> String {
    let Some((mantissa, exponent)) = text.split_once(['e', 'E']) else { return format!("{text}.0") };
    let dot = if mantissa.contains('.') { "" } else { ".0" };
    let sign = if exponent.starts_with(['-', '+']) { "" } else { "+" };
    format!("{mantissa}{dot}e{sign}{exponent}")
}
