//! Scalars: their types and their known values.

use serde_json::json;

use super::change::{Changer, MAX_CONDITION_WORK};
use super::forms::is_secure;
use super::message::{Code, Level};
use super::value::{Kind, Value};
use super::{cast, repair};
use crate::travis::condition;
use crate::travis::schema::Schema;
use crate::yaml::Mark;

impl Changer {
    pub(super) fn string(&mut self, schema: &Schema, value: Value) -> Value {
        match value.data {
            Kind::Null => value,
            Kind::Seq(items)
                if !items.is_empty() && !items.iter().any(|v| matches!(v.data, Kind::Map(_) | Kind::Seq(_))) =>
            {
                let first = items.into_iter().next().unwrap_or_else(|| Value::new(Kind::Null, value.at));
                let first = self.string(schema, first);
                self.report(Level::Warn, Code::UnexpectedSeq, json!({"value": first.json()}), value.at);
                first
            }
            // Nothing but a comment is left of the map.
            Kind::Map(pairs) if pairs.is_empty() => Value::new(Kind::Null, value.at),
            Kind::Seq(_) | Kind::Map(_) => self.invalid_type("str", value),
            _ => {
                let at = value.at;
                let text = value.text().unwrap_or_default();
                self.enumerated(schema, text, at)
            }
        }
    }

    /// Changes a string into one of its known values, with repairs.
    pub(super) fn enumerated(&mut self, schema: &Schema, text: String, at: Mark) -> Value {
        let traits = &schema.traits;
        let mut text = text;
        if traits.downcase && text.to_lowercase() != text {
            self.report(Level::Info, Code::Downcase, json!({"value": text}), at);
            text = text.to_lowercase();
        }
        let known = |word: &str| {
            traits.values.iter().any(|v| v == word || (traits.ignore_case && v.eq_ignore_ascii_case(word)))
        };
        if !traits.values.is_empty() && !known(&text) {
            let alias = |word: &str| {
                let hit = traits.about.iter().find(|(_, about)| about.aliases.iter().any(|alias| alias == word));
                hit.map(|(value, _)| value.clone())
            };
            let head = text.split_whitespace().next().unwrap_or_default().to_owned();
            if let Some(value) = alias(&text) {
                self.report(Level::Info, Code::AliasValue, json!({"alias": text, "value": value}), at);
                text = value;
            } else if self.options.fix && head != text && known(&head) {
                self.report(Level::Warn, Code::CleanValue, json!({"original": text, "value": head}), at);
                text = head;
            } else if let Some(value) = self.find_value(schema, &text) {
                self.report(Level::Warn, Code::FindValue, json!({"original": text, "value": value}), at);
                text = value;
            } else {
                self.report(Level::Error, Code::UnknownValue, json!({"value": text}), at);
                if self.options.drop {
                    return Value::new(Kind::Null, at);
                }
            }
        }
        if let Some(pattern) = &schema.traits.pattern
            && !matches_pattern(pattern, &text)
        {
            self.report(Level::Error, Code::InvalidFormat, json!({"format": pattern, "value": text}), at);
            if self.options.drop {
                return Value::new(Kind::Null, at);
            }
        }
        if schema.traits.condition
            && let Err(error) = self.check_condition(&text)
        {
            let args = json!({"condition": text, "message": error.detail()});
            self.report(Level::Error, Code::InvalidCondition, args, at);
            if self.options.drop {
                return Value::new(Kind::Null, at);
            }
        }
        self.about_value(schema, &text, at);
        Value::str(text, at)
    }

    /// Uses up one of the remaining checks of unknown keys; returns false if none is left.
    pub(super) fn may_mend(&mut self) -> bool {
        let left = self.unknown_keys > 0;
        self.unknown_keys = self.unknown_keys.saturating_sub(1);
        left
    }

    /// Uses up one of the remaining repairs; returns false if none is left.
    pub(super) fn may_repair(&mut self) -> bool {
        let left = self.repairs > 0;
        self.repairs = self.repairs.saturating_sub(1);
        left
    }

    /// Checks that a condition can be evaluated. Beyond a bound on the work, its expressions are not checked here; each
    /// condition is read again with the jobs that it is for.
    fn check_condition(&mut self, text: &str) -> Result<(), condition::Error> {
        let condition = condition::parse(text)?;
        self.condition_work += condition.work();
        if self.condition_work > MAX_CONDITION_WORK { Ok(()) } else { condition.check() }
    }

    fn find_value(&mut self, schema: &Schema, text: &str) -> Option<String> {
        if !self.options.fix || !self.may_repair() {
            return None;
        }
        let nearest = repair::nearest(text, schema.traits.values.iter().map(String::as_str));
        nearest.map(str::to_owned)
    }

    pub(super) fn boolean(&mut self, schema: &Schema, value: Value) -> Value {
        if let (Kind::Bool(bool), Some(only)) = (&value.data, schema.traits.values.first())
            && schema.traits.values.len() == 1
            && *only != bool.to_string()
        {
            self.report(Level::Error, Code::UnknownValue, json!({"value": bool}), value.at);
            return if self.options.drop { Value::new(Kind::Null, value.at) } else { value };
        }
        self.scalar("bool", value, |text| cast::boolean(text).map(Kind::Bool))
    }

    pub(super) fn scalar(&mut self, expected: &str, value: Value, cast: impl Fn(&str) -> Option<Kind>) -> Value {
        if value.is_null() {
            return value;
        }
        if let Kind::Seq(items) = &value.data
            && let [_, ..] = items.as_slice()
        {
            let first = self.first(items.clone(), value.at);
            return self.scalar(expected, first, cast);
        }
        match value.text().and_then(|text| cast(&text)) {
            Some(data) => Value::new(data, value.at),
            None => self.invalid_type(expected, value),
        }
    }

    pub(super) fn secret(&mut self, schema: &Schema, value: Value) -> Value {
        if is_secure(&value) {
            return value;
        }
        match value.data {
            Kind::Null | Kind::Map(_) => self.string(&Schema::default(), value),
            _ => {
                let value = self.string(&Schema::default(), value);
                if self.options.alert && schema.traits.strict != Some(false) && is_plain(&value) {
                    self.report(Level::Alert, Code::Secure, json!({"type": "str"}), value.at);
                }
                value
            }
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
