//! Evaluation of a condition for a build.

use serde_json::Value as Json;

use super::{Condition, Error, Operand, Pattern, Predicate};
use crate::travis::env;

/// The facts that conditions ask for.
#[derive(Debug, Clone, Copy)]
pub struct Data<'a> {
    /// Variables by name; `env` is not among them.
    pub variables: &'a Json,
    /// The environment: a map, or a list of maps and of strings such as `A=1 B=2`. Later values win.
    pub env: &'a Json,
}

/// A value; `Nothing` is different from an empty text.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Nothing,
    Bool(bool),
    Text(String),
}

impl Value {
    /// Converts a value of the data. The texts `true` and `false` become booleans.
    fn of(json: Option<&Json>) -> Self {
        match json {
            None | Some(Json::Null) => Self::Nothing,
            Some(Json::Bool(bool)) => Self::Bool(*bool),
            Some(Json::String(text)) => Self::Text(text.clone()).cast(),
            Some(other) => Self::Text(other.to_string()),
        }
    }

    fn cast(self) -> Self {
        match self {
            Self::Text(text) if text.eq_ignore_ascii_case("true") => Self::Bool(true),
            Self::Text(text) if text.eq_ignore_ascii_case("false") => Self::Bool(false),
            other => other,
        }
    }

    fn text(&self) -> Option<String> {
        match self {
            Self::Nothing => None,
            Self::Bool(bool) => Some(bool.to_string()),
            Self::Text(text) => Some(text.clone()),
        }
    }

    fn is_present(&self) -> bool {
        match self {
            Self::Nothing | Self::Bool(false) => false,
            Self::Bool(true) => true,
            Self::Text(text) => !text.trim().is_empty(),
        }
    }
}

impl Condition {
    /// Returns true if the condition holds.
    ///
    /// # Errors
    /// Fails when a regular expression is invalid or takes too long.
    pub fn holds(&self, data: Data<'_>) -> Result<bool, Error> {
        Ok(match self {
            Self::Or(left, right) => left.holds(data)? || right.holds(data)?,
            Self::And(left, right) => left.holds(data)? && right.holds(data)?,
            Self::Not(inner) => !inner.holds(data)?,
            Self::Term(operand) => !matches!(operand.value(data), Value::Nothing | Value::Bool(false)),
            Self::Equal(left, right, not) => (left.value(data) == right.value(data)) != *not,
            Self::In(left, list, not) => {
                let left = left.value(data);
                list.iter().any(|right| right.value(data) == left) != *not
            }
            Self::Is(left, predicate, not) => is(&left.value(data), *predicate) != *not,
            Self::Match(left, right, not) => matches(&left.value(data), right, data)? != *not,
        })
    }
}

fn is(value: &Value, predicate: Predicate) -> bool {
    match predicate {
        Predicate::Present => value.is_present(),
        Predicate::Blank => !value.is_present(),
        Predicate::True => *value == Value::Bool(true),
        Predicate::False => *value == Value::Bool(false),
    }
}

fn matches(value: &Value, right: &Operand, data: Data<'_>) -> Result<bool, Error> {
    let called;
    let pattern = match right {
        Operand::Regex(pattern) => pattern,
        call => match call.value(data).text() {
            Some(text) => {
                called = Pattern::new(text);
                &called
            }
            None => return Ok(false),
        },
    };
    pattern.check()?;
    value.text().map_or(Ok(false), |text| pattern.is_match(&text))
}

impl Operand {
    fn value(&self, data: Data<'_>) -> Value {
        match self {
            Self::Variable(name) => Value::of(data.variables.get(name)),
            Self::Text(text) => Value::Text(text.clone()).cast(),
            Self::Regex(pattern) => Value::Text(pattern.text().to_owned()),
            Self::Env(args) => match args.first().and_then(|name| name.value(data).text()) {
                Some(name) => variable(data.env, &name),
                None => Value::Nothing,
            },
            Self::Missing => Value::Nothing,
            Self::Concat(args) => Value::Text(args.iter().filter_map(|arg| arg.value(data).text()).collect()).cast(),
        }
    }
}

/// Returns the variable in the environment, without the quotes around it.
fn variable(env: &Json, name: &str) -> Value {
    match env {
        Json::Object(map) => match map.get(name) {
            Some(Json::String(text)) => Value::Text(unquoted(text).to_owned()).cast(),
            other => Value::of(other),
        },
        Json::Array(items) => {
            let found = items.iter().map(|item| variable(item, name));
            found.rev().find(|value| *value != Value::Nothing).unwrap_or(Value::Nothing)
        }
        Json::String(text) => {
            let pairs = env::pairs(text).unwrap_or_default();
            let found = pairs.iter().rev().find(|(key, _)| key == name);
            found.map_or(Value::Nothing, |(_, value)| Value::Text(unquoted(value).to_owned()).cast())
        }
        _ => Value::Nothing,
    }
}

fn unquoted(text: &str) -> &str {
    let inner = |quote| text.strip_prefix(quote).and_then(|text| text.strip_suffix(quote));
    inner('"').or_else(|| inner('\'')).unwrap_or(text)
}
