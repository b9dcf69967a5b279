//! Reader for YAML as PyYAML loads it, which follows YAML 1.1.

use super::{Fault, Source};
use crate::domain::Rule;
use crate::tree::{Entry, Node, Value};
use crate::yaml::{self, Boolean, Data, is_null};

pub(super) fn read(text: &str) -> Source {
    match yaml::read(text) {
        Ok(document) => {
            let duplicates = document.duplicates.iter().map(|key| Fault::twice(&key.key, key.at));
            let unresolved = document.unresolved.iter().map(|(name, at)| {
                let message = format!("the trainer stops, because *{name} has no anchor &{name} before it: add it");
                Fault::fatal(Rule::BadYaml, message, Some(*at))
            });
            let faults = duplicates.chain(unresolved).collect();
            Source { root: document.root.as_ref().map(node), faults }
        }
        Err(error) => {
            let message = format!("this is not YAML, so the trainer cannot read it: {error}");
            Source { root: None, faults: vec![Fault::fatal(Rule::BadYaml, message, error.at)] }
        }
    }
}

fn node(node: &yaml::Node) -> Node {
    let value = match &node.data {
        Data::Unresolved => Value::Null,
        Data::Scalar { text, plain: false } => Value::Text { text: text.clone(), plain: false },
        Data::Scalar { text, plain: true } => plain(text),
        Data::Seq(items) => Value::List(items.iter().map(self::node).collect()),
        Data::Map(entries) => Value::Map(
            entries.iter().map(|e| Entry { key: e.key.clone(), at: e.at, node: self::node(&e.value) }).collect(),
        ),
    };
    Node { value, at: node.at }
}

fn plain(text: &str) -> Value {
    if is_null(text) {
        return Value::Null;
    }
    if let Some(boolean) = Boolean::Yaml11.of(text) {
        return Value::Bool(boolean);
    }
    number(text).unwrap_or_else(|| Value::Text { text: text.to_owned(), plain: true })
}

/// Reads a plain scalar as a number if PyYAML does. `2e-4`, which has no dot, and `1.0e4`, whose exponent has no sign,
/// are not numbers to PyYAML.
fn number(text: &str) -> Option<Value> {
    let digits = text.replace('_', "");
    let unsigned = digits.strip_prefix(['-', '+']).unwrap_or(&digits);
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    if let Some(based) = unsigned.strip_prefix("0x") {
        return i64::from_str_radix(based, 16).ok().map(|value| Value::Number { value: value as f64, whole: true });
    }
    let whole = unsigned.bytes().all(|byte| byte.is_ascii_digit());
    let has_form = match unsigned.split_once(['e', 'E']) {
        None => whole || unsigned.contains('.'),
        Some((mantissa, exponent)) => mantissa.contains('.') && exponent.starts_with(['-', '+']),
    };
    let value = if has_form { digits.parse().ok()? } else { return None };
    Some(Value::Number { value, whole })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_are_what_pyyaml_makes_of_them() {
        let number = |value: f64, whole: bool| Value::Number { value, whole };
        for (text, expected) in [
            ("8", number(8.0, true)),
            ("1_000", number(1000.0, true)),
            ("-0.5", number(-0.5, false)),
            (".5", number(0.5, false)),
            ("2.0e-4", number(2e-4, false)),
            ("no", Value::Bool(false)),
            ("~", Value::Null),
        ] {
            assert_eq!(plain(text), expected, "{text}");
        }
        for text in ["2e-4", "1.0e4", "v1.5", "auto", "1.2.3", "."] {
            assert_eq!(plain(text), Value::Text { text: text.to_owned(), plain: true }, "{text}");
        }
    }
}
