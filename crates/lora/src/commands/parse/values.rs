//! The values that the parsers make of texts.

use super::Reader;
use super::names::Use;
use crate::Finding;
use crate::commands::numbers::{is_int, number};
use crate::commands::options::{Choice, Count, Scalar};
use crate::commands::shell::Argument;
use crate::domain::Rule;
use crate::tree::{Node, Value};
use crate::yaml::Mark;

impl Reader<'_> {
    /// Reports a value that the parser refuses.
    pub(super) fn refused(&self, used: &Use<'_>, choice: &Choice, value: &Argument) -> Option<Finding> {
        let text = value.known()?;
        let wanted = match choice.kind {
            Scalar::Int if !is_int(text) => "an integer, without a dot or an exponent",
            Scalar::Float if number(text).is_none() => "a number",
            _ => {
                let is_accepted = choice.words.is_empty() || choice.words.iter().any(|word| word == text);
                let message = format!("--{} must be one of {}", used.name, choice.words.join(", "));
                return (!is_accepted).then(|| self.finding(Rule::Enum, message, value.at, choice));
            }
        };
        let message = format!("--{} must be {wanted}: {} refuses this value", used.name, self.trainer);
        Some(self.finding(Rule::WrongType, message, value.at, choice))
    }
}

/// Returns true for a value in capital letters only.
pub(super) fn is_placeholder(argument: &Argument) -> bool {
    let has = |is: fn(char) -> bool| argument.text.contains(is);
    has(char::is_uppercase) && !has(char::is_lowercase)
}

/// Returns a word that was meant as the value of a flag before it.
pub(super) fn lone_value(argument: &Argument) -> Option<&str> {
    let text = argument.known()?;
    let is_value = ["true", "false", "yes", "no", "0", "1", "on", "off"].contains(&text.to_lowercase().as_str());
    is_value.then_some(text)
}

/// Returns the value that the parser makes of the texts.
pub(super) fn node_of(choice: &Choice, values: &[Argument], at: Mark) -> Node {
    let scalar = |argument: &Argument| Node { value: value_of(choice.kind, &argument.text), at: argument.at };
    match (choice.count, values) {
        (Count::Flag(is), _) => Node { value: Value::Bool(is), at },
        (Count::AtMostOne | Count::Free, []) => Node { value: Value::Bool(true), at },
        (Count::AtMostOne, [value]) => {
            let is = match value.text.to_lowercase().as_str() {
                "true" | "yes" | "t" | "y" | "1" => Value::Bool(true),
                "false" | "no" | "f" | "n" | "0" => Value::Bool(false),
                _ => value_of(choice.kind, &value.text),
            };
            Node { value: is, at: value.at }
        }
        (Count::One | Count::Free, [value]) => scalar(value),
        _ => Node { value: Value::List(values.iter().map(scalar).collect()), at: values.first().map_or(at, |v| v.at) },
    }
}

fn value_of(kind: Scalar, text: &str) -> Value {
    let whole = kind == Scalar::Int;
    match number(text).filter(|_| kind != Scalar::Text) {
        Some(value) => Value::Number { value, whole },
        None => Value::Text { text: text.to_owned(), plain: false },
    }
}
