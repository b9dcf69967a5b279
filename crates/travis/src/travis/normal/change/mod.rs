//! The walk along the table: each value is brought into the normal form of its schema.

mod env_vars;
pub(super) mod keys;
mod scalars;
mod special;
mod unsupported;

use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::Options;
use super::cast;
use super::forms::{fits, flat, has_map, is_secret, is_secure, may_prefix, move_under_prefix, normal_forms, same_kind};
use super::message::{Code, Level, Message};
use super::value::{Kind, Pair, Value};
use crate::travis::schema::{Change, Schema, Shape};
use crate::yaml::{Duplicate, Mark};

/// Keys that Travis once wrote into the config itself; some got back into files.
const INTERNAL: [&str; 2] = [".configured", ".result"];

/// State of the walk.
pub(super) struct Changer {
    pub(super) options: Options,
    pub(super) messages: Vec<Message>,
    /// Keys from the root to the current place.
    pub(super) path: Vec<String>,
    /// Provider of the deployment that the walk is in.
    pub(super) provider: Option<String>,
    /// Number of variables that strings have defined so far.
    pub(super) variables: usize,
    /// Number of unknown keys that may still be checked for another spelling.
    pub(super) unknown_keys: usize,
    /// Number of words that may still be compared with all known ones, which is slow.
    pub(super) repairs: usize,
    /// Work spent on checking conditions so far.
    pub(super) condition_work: usize,
    /// Number of messages beyond those that are kept.
    pub(super) untold: usize,
}

/// Maximum number of unknown keys of a file that are checked for other names, of words that are compared with all known
/// ones, and of work for its conditions. Real files have a handful of each; anything beyond is kept as it is.
const MAX_UNKNOWN_KEYS: usize = 1_000;
const MAX_REPAIRS: usize = 50;
pub(super) const MAX_CONDITION_WORK: usize = 3_000;
/// Maximum number of messages that are kept; the others are counted.
const MAX_MESSAGES: usize = 1_000;

impl Changer {
    pub(super) fn new(options: Options) -> Self {
        Self {
            options,
            messages: Vec::new(),
            path: Vec::new(),
            provider: None,
            variables: 0,
            unknown_keys: MAX_UNKNOWN_KEYS,
            repairs: MAX_REPAIRS,
            condition_work: 0,
            untold: 0,
        }
    }

    pub(super) fn duplicate(&mut self, duplicate: &Duplicate) {
        self.path.clone_from(&duplicate.path);
        self.report(Level::Error, Code::DuplicateKey, json!({"key": duplicate.key}), duplicate.at);
        self.path.clear();
    }

    pub(super) fn report(&mut self, level: Level, code: Code, args: Json, at: Mark) {
        if self.messages.len() >= MAX_MESSAGES {
            self.untold += 1;
            return;
        }
        let args = match args {
            Json::Object(args) => args,
            _ => serde_json::Map::new(),
        };
        self.messages.push(Message { level, key: self.path.join("."), code, args, at, sure: false });
    }

    /// Works like [`Self::report`], for a repaired word that may surely be meant.
    pub(super) fn report_repair(&mut self, level: Level, code: Code, args: Json, at: Mark, sure: bool) {
        let count = self.messages.len();
        self.report(level, code, args, at);
        if let Some(message) = self.messages.get_mut(count) {
            message.sure = sure;
        }
    }

    /// Works like [`Self::report`], and adds the provider if the message is about a deployment's map.
    pub(super) fn report_in_map(&mut self, level: Level, code: Code, args: Json, at: Mark) {
        self.report_key(level, code, args, at, false);
    }

    /// Works like [`Self::report_in_map`], for a repaired key that may surely be meant.
    pub(super) fn report_key(&mut self, level: Level, code: Code, mut args: Json, at: Mark, sure: bool) {
        if let (Some(provider), Some(args)) = (&self.provider, args.as_object_mut()) {
            args.insert("provider".to_owned(), json!(provider));
        }
        self.report_repair(level, code, args, at, sure);
    }

    pub(super) fn invalid_type(&mut self, expected: &str, value: Value) -> Value {
        let args = json!({"expected": expected, "actual": actual_type(&value), "value": value.json()});
        self.report(Level::Error, Code::InvalidType, args, value.at);
        if self.options.drop { Value::new(Kind::Null, value.at) } else { value }
    }

    /// Brings a value into the normal form of `schema`.
    pub(super) fn change(&mut self, schema: &Schema, value: Value) -> Value {
        if let Some(changed) = special::change_special(self, schema, &value) {
            return changed;
        }
        match &schema.shape {
            Shape::Any(forms) => self.any(schema, forms, value),
            Shape::Seq(item) => self.seq(item, value),
            Shape::Map(_) => self.map(schema, value),
            Shape::Each(each) => self.each(each, value),
            Shape::Str => scalars::string(self, schema, value),
            Shape::Num => scalars::scalar(self, "num", value, cast::number),
            Shape::Bool => scalars::boolean(self, schema, value),
        }
    }

    fn any(&mut self, schema: &Schema, forms: &[Arc<Schema>], value: Value) -> Value {
        if schema.traits.detect.is_some() {
            return special::provider(self, forms, value);
        }
        if is_secret(schema) {
            return scalars::secret(self, schema, value);
        }
        if let Some(vars) = forms.iter().find(|form| form.traits.change == Some(Change::EnvVars))
            && !matches!(value.data, Kind::Bool(_) | Kind::Num(_) | Kind::Null)
        {
            return self.change(vars, value);
        }
        if matches!(forms, [each, _] if matches!(each.shape, Shape::Each(_)))
            && let Some(secret) = forms.iter().find(|form| is_secret(form)).filter(|_| is_secure(&value))
        {
            return scalars::secret(self, secret, value);
        }
        self.any_plain(schema, forms, value)
    }

    /// Changes a value that none of the special forms takes.
    fn any_plain(&mut self, schema: &Schema, forms: &[Arc<Schema>], value: Value) -> Value {
        let value = match value.data {
            // Nested lists are flattened; aliases in a list of commands create them.
            Kind::Seq(items) if forms.iter().any(|form| form.item().is_some()) => {
                Value { data: Kind::Seq(flat(items)), ..value }
            }
            _ => value,
        };
        let normals = normal_forms(forms);
        let wants_list = matches!(normals.first().map(|form| &form.shape), Some(Shape::Seq(_)));
        if let Some(form) = normals.iter().find(|form| fits(form, &value)) {
            return self.change(form, value);
        }
        if let Some(changed) = normals.iter().find_map(|form| special::change_special(self, form, &value)) {
            return changed;
        }
        if wants_list && matches!(value.data, Kind::Seq(_)) {
            return self.change(normals[0], value);
        }
        // A value of another form that fits is put into the normal form.
        let other = forms.iter().find(|form| fits(form, &value));
        let by_kind = || forms.iter().find(|form| same_kind(form, &value));
        for (nth, form) in normals.iter().enumerate() {
            if nth == 0
                && let Shape::Seq(_) = form.shape
                && !matches!(value.data, Kind::Seq(_) | Kind::Null)
            {
                return self.change(form, value.wrapped());
            }
            if let (Shape::Map(_), Some(key)) = (&form.shape, &form.traits.prefix)
                && may_prefix(form, &value)
            {
                return self.change(form, value.under(key));
            }
        }
        let wants_map = normals.first().is_some_and(|form| matches!(form.shape, Shape::Map(_)));
        match value.data {
            Kind::Seq(items) if other.is_none() && !items.is_empty() && wants_map == has_map(&items) => {
                let first = self.first(items, value.at);
                self.any(schema, forms, first)
            }
            Kind::Seq(ref items) if other.is_none() && !items.is_empty() && wants_map => self.change(normals[0], value),
            _ if by_kind().is_some() => match by_kind() {
                Some(form) => self.change(form, value),
                None => value,
            },
            _ => match normals.first().copied().or(forms.first()) {
                Some(form) => self.change(form, value),
                None => value,
            },
        }
    }

    /// Takes the first item of a list where a single value is expected.
    pub(super) fn first(&mut self, items: Vec<Value>, at: Mark) -> Value {
        let first = items.into_iter().next().unwrap_or_else(|| Value::new(Kind::Null, at));
        self.report(Level::Warn, Code::UnexpectedSeq, json!({"value": first.json()}), at);
        first
    }

    fn seq(&mut self, item: &Schema, value: Value) -> Value {
        let at = value.at;
        let items = match value.data {
            Kind::Null => Vec::new(),
            Kind::Seq(items) => flat(items),
            _ => vec![value],
        };
        let items = items.into_iter().map(|value| self.change(item, value));
        let items: Vec<Value> = items.filter(|value| !value.is_null()).collect();
        keys::report_duplicates(self, item, &items);
        Value::new(Kind::Seq(items), at)
    }

    /// Changes the whole file.
    pub(super) fn root(&mut self, schema: &Schema, value: Value) -> Value {
        let mut value = self.change(schema, value);
        if let Kind::Map(pairs) = &mut value.data {
            pairs.retain(|pair| !INTERNAL.contains(&pair.key.trim_matches('"')));
        }
        let value = unsupported::with_defaults(self, schema, value);
        unsupported::check_support(self, schema, &value);
        value
    }

    pub(super) fn map(&mut self, schema: &Schema, value: Value) -> Value {
        let (at, anchored) = (value.at, value.anchored);
        let pairs = match value.data {
            Kind::Map(pairs) => pairs,
            Kind::Null => return value,
            Kind::Seq(items) => {
                if !has_map(&items) {
                    let value = Value { data: Kind::Seq(items), at, anchored };
                    return self.invalid_type("map", value);
                }
                let first = self.first(items, at);
                return self.map(schema, first);
            }
            _ => match schema.traits.prefix.as_deref().filter(|_| may_prefix(schema, &value)) {
                Some(key) => return self.map(schema, value.under(key)),
                None => return self.invalid_type("map", value),
            },
        };
        let pairs = keys::mend_keys(self, schema, pairs);
        let pairs = move_under_prefix(schema, pairs);
        let mut changed = Vec::with_capacity(pairs.len());
        for pair in pairs {
            if let Some(pair) = self.pair(schema, pair) {
                changed.push(pair);
            }
        }
        for key in required_keys(schema, self.options) {
            if !changed.iter().any(|pair| pair.key == *key) {
                self.report_in_map(Level::Error, Code::Required, json!({"key": key}), at);
            }
        }
        let value = Value { data: Kind::Map(changed), at, anchored };
        if self.path.is_empty() {
            return special::after_map(schema, value);
        }
        let value = unsupported::with_defaults(self, schema, value);
        let value = special::after_map(schema, value);
        // Nothing is left of an empty map except its key.
        if value.is_empty() { Value::new(Kind::Null, at) } else { value }
    }

    /// Changes a key and its value; returns `None` when nothing is left of the value.
    pub(super) fn pair(&mut self, schema: &Schema, pair: Pair) -> Option<Pair> {
        let Some(known) = schema.key(&pair.key).cloned() else {
            return self.unknown(schema, pair);
        };
        if let Some(info) = &known.traits.deprecated {
            let args = json!({"key": pair.key, "info": info});
            self.report_in_map(Level::Warn, Code::DeprecatedKey, args, pair.at);
        }
        self.path.push(pair.key.clone());
        if known.traits.flags.iter().any(|flag| flag == "edge") {
            self.report(Level::Info, Code::Edge, json!({}), pair.at);
        }
        let provider = self.provider.take();
        let value = self.change(&known, pair.value);
        self.provider = provider;
        self.path.pop();
        (!value.is_null()).then_some(Pair { value, ..pair })
    }

    fn unknown(&mut self, schema: &Schema, pair: Pair) -> Option<Pair> {
        let at_root = self.path.is_empty();
        let is_open = !schema.traits.closed && !at_root;
        let is_silent = is_open || (at_root && pair.key.starts_with('_'));
        if at_root && (pair.key == "merge_mode" || INTERNAL.contains(&pair.key.trim_matches('"'))) {
            return Some(pair);
        }
        if !is_silent {
            let args = json!({"key": pair.key});
            if is_home_of_anchors(&pair.value) && self.provider.is_none() {
                let args = json!({"key": pair.key, "info": "anchor on a non-private key"});
                self.report(Level::Warn, Code::DeprecatedKey, args, pair.at);
            } else {
                let mut args = args;
                args["value"] = pair.value.json();
                self.report_in_map(Level::Warn, Code::UnknownKey, args, pair.at);
            }
        }
        (!self.options.drop || at_root).then_some(pair)
    }

    fn each(&mut self, each: &Schema, value: Value) -> Value {
        let at = value.at;
        let Kind::Map(pairs) = value.data else {
            return self.invalid_type("map", value);
        };
        let pairs = pairs.into_iter().map(|pair| {
            self.path.push(pair.key.clone());
            let value = self.change(each, pair.value);
            self.path.pop();
            Pair { value, ..pair }
        });
        Value::new(Kind::Map(pairs.collect()), at)
    }
}

/// Returns true if a value is there to be named elsewhere: it carries an anchor, or an item of the list does.
fn is_home_of_anchors(value: &Value) -> bool {
    value.anchored || value.items().iter().any(|item| item.anchored)
}

/// Returns the keys that must be present. Travis reports missing ones only when it also fills in defaults.
fn required_keys(schema: &Schema, options: Options) -> &[String] {
    if options.defaults { &schema.traits.required } else { &[] }
}

/// Returns the type of a value. Travis treats a map with the single key `secure` as a separate type.
fn actual_type(value: &Value) -> &'static str {
    match value.pairs() {
        [_] if is_secure(value) => "secure",
        _ if matches!(value.data, Kind::Num(_)) => "str",
        _ => value.type_name(),
    }
}
