//! Scalars: their types and their known values.

use super::special;
use serde_json::json;

use super::{Changer, MAX_CONDITION_WORK};
use crate::domain::only_near;
use crate::travis::condition;
use crate::travis::normal::forms::is_secure;
use crate::travis::normal::message::{Code, Level};
use crate::travis::normal::value::{Kind, Value};
use crate::travis::normal::{cast, repair};
use crate::travis::schema::Schema;
use crate::yaml::Mark;

pub(super) fn string(changer: &mut Changer, schema: &Schema, value: Value) -> Value {
    match value.data {
        Kind::Null => value,
        Kind::Seq(items)
            if !items.is_empty() && !items.iter().any(|v| matches!(v.data, Kind::Map(_) | Kind::Seq(_))) =>
        {
            let first = items.into_iter().next().unwrap_or_else(|| Value::new(Kind::Null, value.at));
            let first = string(changer, schema, first);
            changer.report(Level::Warn, Code::UnexpectedSeq, json!({"value": first.json()}), value.at);
            first
        }
        // Nothing but a comment is left of the map.
        Kind::Map(pairs) if pairs.is_empty() => Value::new(Kind::Null, value.at),
        Kind::Seq(_) | Kind::Map(_) => changer.invalid_type("str", value),
        _ => {
            let at = value.at;
            let text = value.text().unwrap_or_default();
            enumerated(changer, schema, text, at)
        }
    }
}

/// Changes a string into one of its known values, with repairs.
pub(super) fn enumerated(changer: &mut Changer, schema: &Schema, text: String, at: Mark) -> Value {
    let traits = &schema.traits;
    let mut text = text;
    if traits.downcase && text.to_lowercase() != text {
        changer.report(Level::Info, Code::Downcase, json!({"value": text}), at);
        text = text.to_lowercase();
    }
    let known =
        |word: &str| traits.values.iter().any(|v| v == word || (traits.ignore_case && v.eq_ignore_ascii_case(word)));
    if !traits.values.is_empty() && !known(&text) {
        let alias = |word: &str| {
            let hit = traits.about.iter().find(|(_, about)| about.aliases.iter().any(|alias| alias == word));
            hit.map(|(value, _)| value.clone())
        };
        let head = text.split_whitespace().next().unwrap_or_default().to_owned();
        if let Some(value) = alias(&text) {
            changer.report_repair(Level::Info, Code::AliasValue, json!({"alias": text, "value": value}), at, true);
            text = value;
        } else if changer.options.fix && head != text && known(&head) {
            changer.report(Level::Warn, Code::CleanValue, json!({"original": text, "value": head}), at);
            text = head;
        } else if let Some(value) = find_value(changer, schema, &text) {
            let is_sure = only_near(&text, traits.values.iter().map(String::as_str)) == Some(value.as_str());
            changer.report_repair(Level::Warn, Code::FindValue, json!({"original": text, "value": value}), at, is_sure);
            text = value;
        } else {
            changer.report(Level::Error, Code::UnknownValue, json!({"value": text}), at);
            if changer.options.drop {
                return Value::new(Kind::Null, at);
            }
        }
    }
    if let Some(pattern) = &schema.traits.pattern
        && !matches_pattern(pattern, &text)
    {
        changer.report(Level::Error, Code::InvalidFormat, json!({"format": pattern, "value": text}), at);
        if changer.options.drop {
            return Value::new(Kind::Null, at);
        }
    }
    if schema.traits.condition
        && let Err(error) = check_condition(changer, &text)
    {
        let args = json!({"condition": text, "message": error.detail()});
        changer.report(Level::Error, Code::InvalidCondition, args, at);
        if changer.options.drop {
            return Value::new(Kind::Null, at);
        }
    }
    special::about_value(changer, schema, &text, at);
    Value::str(text, at)
}

/// Uses up one of the remaining checks of unknown keys; returns false if none is left.
pub(super) fn may_mend(changer: &mut Changer) -> bool {
    let left = changer.unknown_keys > 0;
    changer.unknown_keys = changer.unknown_keys.saturating_sub(1);
    left
}

/// Uses up one of the remaining repairs; returns false if none is left.
pub(super) fn may_repair(changer: &mut Changer) -> bool {
    let left = changer.repairs > 0;
    changer.repairs = changer.repairs.saturating_sub(1);
    left
}

/// Checks that a condition can be evaluated. Beyond a bound on the work, its expressions are not checked here; each
/// condition is read again with the jobs that it is for.
fn check_condition(changer: &mut Changer, text: &str) -> Result<(), condition::Error> {
    let condition = condition::parse(text)?;
    changer.condition_work += condition.work();
    if changer.condition_work > MAX_CONDITION_WORK { Ok(()) } else { condition.check() }
}

fn find_value(changer: &mut Changer, schema: &Schema, text: &str) -> Option<String> {
    if !changer.options.fix || !may_repair(changer) {
        return None;
    }
    repair::nearest(text, schema.traits.values.iter().map(String::as_str)).map(str::to_owned)
}

pub(super) fn boolean(changer: &mut Changer, schema: &Schema, value: Value) -> Value {
    if let (Kind::Bool(bool), Some(only)) = (&value.data, schema.traits.values.first())
        && schema.traits.values.len() == 1
        && *only != bool.to_string()
    {
        changer.report(Level::Error, Code::UnknownValue, json!({"value": bool}), value.at);
        return if changer.options.drop { Value::new(Kind::Null, value.at) } else { value };
    }
    scalar(changer, "bool", value, |text| cast::boolean(text).map(Kind::Bool))
}

pub(super) fn scalar(
    changer: &mut Changer,
    expected: &str,
    value: Value,
    cast: impl Fn(&str) -> Option<Kind>,
) -> Value {
    if value.is_null() {
        return value;
    }
    if let Kind::Seq(items) = &value.data
        && let [_, ..] = items.as_slice()
    {
        let first = changer.first(items.clone(), value.at);
        return scalar(changer, expected, first, cast);
    }
    match value.text().and_then(|text| cast(&text)) {
        Some(data) => Value::new(data, value.at),
        None => changer.invalid_type(expected, value),
    }
}

pub(super) fn secret(changer: &mut Changer, schema: &Schema, value: Value) -> Value {
    if is_secure(&value) {
        return value;
    }
    match value.data {
        Kind::Null | Kind::Map(_) => string(changer, &Schema::default(), value),
        _ => {
            let value = string(changer, &Schema::default(), value);
            if changer.options.alert && schema.traits.strict != Some(false) && is_plain(&value) {
                changer.report(Level::Alert, Code::PlainSecret, json!({"type": "str"}), value.at);
            }
            value
        }
    }
}

/// Returns true for a text that holds a secret itself, and is not the name of a variable with a secret.
fn is_plain(value: &Value) -> bool {
    matches!(&value.data, Kind::Str(text) if !text.trim_start().starts_with('$'))
}

/// Returns true if a text matches a pattern of the table. The patterns are few and known to be valid.
fn matches_pattern(pattern: &str, text: &str) -> bool {
    fancy_regex::Regex::new(pattern).is_ok_and(|regex| regex.is_match(text).unwrap_or(false))
}
