//! The walk along the table: each value is brought into the form its schema calls normal.

use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::Options;
use super::message::{Code, Level, Message};
use super::value::{Kind, Pair, Value};
use super::{cast, repair};
use crate::travis::condition;
use crate::travis::schema::{Change, Schema, Shape};
use crate::yaml::{Duplicate, Mark};

/// Keys that Travis once wrote into the config itself; some found their way back into files.
const INTERNAL: [&str; 2] = [".configured", ".result"];

/// What goes along with the walk.
pub(super) struct Changer {
    pub(super) options: Options,
    pub(super) messages: Vec<Message>,
    /// The keys from the root to here.
    pub(super) path: Vec<String>,
    /// The provider of the deployment that the walk is in.
    pub(super) provider: Option<String>,
}

impl Changer {
    pub(super) fn new(options: Options) -> Self {
        Self {
            options,
            messages: Vec::new(),
            path: Vec::new(),
            provider: None,
        }
    }

    pub(super) fn duplicate(&mut self, duplicate: &Duplicate) {
        self.path.clone_from(&duplicate.path);
        self.say(
            Level::Error,
            Code::DuplicateKey,
            json!({"key": duplicate.key}),
            duplicate.at,
        );
        self.path.clear();
    }

    pub(super) fn say(&mut self, level: Level, code: Code, args: Json, at: Mark) {
        let args = match args {
            Json::Object(args) => args,
            _ => serde_json::Map::new(),
        };
        self.messages.push(Message {
            level,
            key: self.path.join("."),
            code,
            args,
            at,
        });
    }

    /// As [`Self::say`], with the provider if this is about a deployment's map.
    pub(super) fn say_in_map(&mut self, level: Level, code: Code, mut args: Json, at: Mark) {
        if let (Some(provider), Some(args)) = (&self.provider, args.as_object_mut()) {
            args.insert("provider".to_owned(), json!(provider));
        }
        self.say(level, code, args, at);
    }

    pub(super) fn invalid_type(&mut self, expected: &str, value: Value) -> Value {
        let args = json!({"expected": expected, "actual": actual_type(&value), "value": value.json()});
        self.say(Level::Error, Code::InvalidType, args, value.at);
        if self.options.drop {
            Value::new(Kind::Null, value.at)
        } else {
            value
        }
    }

    /// Brings a value into the normal form of `schema`.
    pub(super) fn change(&mut self, schema: &Schema, value: Value) -> Value {
        if let Some(changed) = self.change_special(schema, &value) {
            return changed;
        }
        match &schema.shape {
            Shape::Any(forms) => self.any(schema, forms, value),
            Shape::Seq(item) => self.seq(item, value),
            Shape::Map(_) => self.map(schema, value),
            Shape::Each(each) => self.each(each, value),
            Shape::Str => self.string(schema, value),
            Shape::Num => self.scalar("num", value, cast::number),
            Shape::Bool => self.boolean(schema, value),
        }
    }

    fn any(&mut self, schema: &Schema, forms: &[Arc<Schema>], value: Value) -> Value {
        if schema.traits.detect.is_some() {
            return self.provider(forms, value);
        }
        if is_secret(schema) {
            return self.secret(schema, value);
        }
        if let Some(vars) = forms.iter().find(|form| form.traits.change == Some(Change::EnvVars))
            && !matches!(value.data, Kind::Bool(_) | Kind::Num(_) | Kind::Null)
        {
            return self.change(vars, value);
        }
        if matches!(forms, [each, _] if matches!(each.shape, Shape::Each(_)))
            && let Some(secret) = forms.iter().find(|form| is_secret(form)).filter(|_| is_secure(&value))
        {
            return self.secret(secret, value);
        }
        let value = match value.data {
            // Lists in lists are one list, as aliases in a list of commands make them.
            Kind::Seq(items) if forms.iter().any(|form| form.item().is_some()) => Value {
                data: Kind::Seq(flat(items)),
                ..value
            },
            _ => value,
        };
        let normals = normal_forms(forms);
        let wants_list = matches!(normals.first().map(|form| &form.shape), Some(Shape::Seq(_)));
        if let Some(form) = normals.iter().find(|form| fits(form, &value)) {
            return self.change(form, value);
        }
        if let Some(changed) = normals.iter().find_map(|form| self.change_special(form, &value)) {
            return changed;
        }
        if wants_list && matches!(value.data, Kind::Seq(_)) {
            return self.change(normals[0], value);
        }
        // Another form that fits is put into the normal one.
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

    /// Takes the first of a list where one value is wanted.
    fn first(&mut self, items: Vec<Value>, at: Mark) -> Value {
        let first = items.into_iter().next().unwrap_or_else(|| Value::new(Kind::Null, at));
        self.say(Level::Warn, Code::UnexpectedSeq, json!({"value": first.json()}), at);
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
        Value::new(Kind::Seq(items), at)
    }

    /// The whole file.
    pub(super) fn root(&mut self, schema: &Schema, value: Value) -> Value {
        let mut value = self.change(schema, value);
        if let Kind::Map(pairs) = &mut value.data {
            pairs.retain(|pair| !INTERNAL.contains(&pair.key.trim_matches('"')));
        }
        let value = self.with_defaults(schema, value);
        self.check_support(schema, &value);
        value
    }

    pub(super) fn map(&mut self, schema: &Schema, value: Value) -> Value {
        let (at, anchored) = (value.at, value.anchored);
        let pairs = match value.data {
            Kind::Map(pairs) => pairs,
            Kind::Null => return value,
            Kind::Seq(items) => {
                if !has_map(&items) {
                    let value = Value {
                        data: Kind::Seq(items),
                        at,
                        anchored,
                    };
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
        let pairs = self.mend_keys(schema, pairs);
        let pairs = move_under_prefix(schema, pairs);
        let mut changed = Vec::with_capacity(pairs.len());
        for pair in pairs {
            if let Some(pair) = self.pair(schema, pair) {
                changed.push(pair);
            }
        }
        for key in required_keys(schema, self.options) {
            if !changed.iter().any(|pair| pair.key == *key) {
                self.say_in_map(Level::Error, Code::Required, json!({"key": key}), at);
            }
        }
        let value = Value {
            data: Kind::Map(changed),
            at,
            anchored,
        };
        if self.path.is_empty() {
            return self.after_map(schema, value);
        }
        let value = self.with_defaults(schema, value);
        let value = self.after_map(schema, value);
        // Nothing is left of an empty map but its key.
        if value.is_empty() {
            Value::new(Kind::Null, at)
        } else {
            value
        }
    }

    /// A key and its value; none when nothing is left of it.
    fn pair(&mut self, schema: &Schema, pair: Pair) -> Option<Pair> {
        let Some(known) = schema.key(&pair.key).cloned() else {
            return self.unknown(schema, pair);
        };
        if let Some(info) = &known.traits.deprecated {
            let args = json!({"key": pair.key, "info": info});
            self.say_in_map(Level::Warn, Code::DeprecatedKey, args, pair.at);
        }
        self.path.push(pair.key.clone());
        if known.traits.flags.iter().any(|flag| flag == "edge") {
            self.say(Level::Info, Code::Edge, json!({}), pair.at);
        }
        let provider = self.provider.take();
        let value = self.change(&known, pair.value);
        self.provider = provider;
        self.path.pop();
        (!value.is_null()).then_some(Pair { value, ..pair })
    }

    fn unknown(&mut self, schema: &Schema, pair: Pair) -> Option<Pair> {
        let open = !schema.traits.closed && !self.path.is_empty();
        let at_root = self.path.is_empty();
        if at_root && (pair.key == "merge_mode" || INTERNAL.contains(&pair.key.trim_matches('"'))) {
            return Some(pair);
        }
        if !open && !(at_root && pair.key.starts_with('_')) {
            let args = json!({"key": pair.key});
            if pair.value.anchored && self.provider.is_none() {
                let args = json!({"key": pair.key, "info": "anchor on a non-private key"});
                self.say(Level::Warn, Code::DeprecatedKey, args, pair.at);
            } else {
                let mut args = args;
                args["value"] = pair.value.json();
                self.say_in_map(Level::Warn, Code::UnknownKey, args, pair.at);
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

    fn string(&mut self, schema: &Schema, value: Value) -> Value {
        match value.data {
            Kind::Null => value,
            Kind::Seq(items)
                if !items.is_empty() && !items.iter().any(|v| matches!(v.data, Kind::Map(_) | Kind::Seq(_))) =>
            {
                let first = self.first(items, value.at);
                self.string(schema, first)
            }
            Kind::Seq(_) | Kind::Map(_) => self.invalid_type("str", value),
            _ => {
                let at = value.at;
                let text = value.text().unwrap_or_default();
                self.enumerated(schema, text, at)
            }
        }
    }

    /// A string, mended into one of the values that are known for it.
    pub(super) fn enumerated(&mut self, schema: &Schema, text: String, at: Mark) -> Value {
        let traits = &schema.traits;
        let mut text = text;
        if traits.downcase && text.to_lowercase() != text {
            self.say(Level::Info, Code::Downcase, json!({"value": text}), at);
            text = text.to_lowercase();
        }
        let known = |word: &str| {
            traits
                .values
                .iter()
                .any(|v| v == word || (traits.ignore_case && v.eq_ignore_ascii_case(word)))
        };
        if !traits.values.is_empty() && !known(&text) {
            let alias = |word: &str| {
                let hit = traits
                    .about
                    .iter()
                    .find(|(_, about)| about.aliases.iter().any(|alias| alias == word));
                hit.map(|(value, _)| value.clone())
            };
            let head = text.split_whitespace().next().unwrap_or_default().to_owned();
            if let Some(value) = alias(&text) {
                self.say(
                    Level::Info,
                    Code::AliasValue,
                    json!({"alias": text, "value": value}),
                    at,
                );
                text = value;
            } else if self.options.fix && head != text && known(&head) {
                self.say(
                    Level::Warn,
                    Code::CleanValue,
                    json!({"original": text, "value": head}),
                    at,
                );
                text = head;
            } else if let Some(value) = self.find_value(schema, &text) {
                self.say(
                    Level::Warn,
                    Code::FindValue,
                    json!({"original": text, "value": value}),
                    at,
                );
                text = value;
            } else {
                self.say(Level::Error, Code::UnknownValue, json!({"value": text}), at);
                if self.options.drop {
                    return Value::new(Kind::Null, at);
                }
            }
        }
        if let Some(pattern) = &schema.traits.pattern
            && !matches_pattern(pattern, &text)
        {
            self.say(
                Level::Error,
                Code::InvalidFormat,
                json!({"format": pattern, "value": text}),
                at,
            );
            if self.options.drop {
                return Value::new(Kind::Null, at);
            }
        }
        if schema.traits.condition
            && let Err(error) = condition::parse(&text).and_then(|condition| condition.check())
        {
            let args = json!({"condition": text, "message": error.detail()});
            self.say(Level::Error, Code::InvalidCondition, args, at);
            if self.options.drop {
                return Value::new(Kind::Null, at);
            }
        }
        self.about_value(schema, &text, at);
        Value::str(text, at)
    }

    fn find_value(&self, schema: &Schema, text: &str) -> Option<String> {
        let nearest = repair::nearest(text, schema.traits.values.iter().map(String::as_str));
        nearest.filter(|_| self.options.fix).map(str::to_owned)
    }

    fn boolean(&mut self, schema: &Schema, value: Value) -> Value {
        if let (Kind::Bool(bool), Some(only)) = (&value.data, schema.traits.values.first())
            && schema.traits.values.len() == 1
            && *only != bool.to_string()
        {
            self.say(Level::Error, Code::UnknownValue, json!({"value": bool}), value.at);
            return if self.options.drop {
                Value::new(Kind::Null, value.at)
            } else {
                value
            };
        }
        self.scalar("bool", value, |text| cast::boolean(text).map(Kind::Bool))
    }

    fn scalar(&mut self, expected: &str, value: Value, cast: impl Fn(&str) -> Option<Kind>) -> Value {
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

    fn secret(&mut self, schema: &Schema, value: Value) -> Value {
        if is_secure(&value) {
            return value;
        }
        match value.data {
            Kind::Null | Kind::Map(_) => self.string(&Schema::default(), value),
            _ => {
                let value = self.string(&Schema::default(), value);
                if self.options.alert && schema.traits.strict != Some(false) && matches!(value.data, Kind::Str(_)) {
                    self.say(Level::Alert, Code::Secure, json!({"type": "str"}), value.at);
                }
                value
            }
        }
    }
}

/// Whether a text has the form of a pattern of the table, which are few and known to be good.
fn matches_pattern(pattern: &str, text: &str) -> bool {
    fancy_regex::Regex::new(pattern).is_ok_and(|regex| regex.is_match(text).unwrap_or(false))
}

/// The forms that the others are changed into: a list if the first of them is one, else all that are marked.
fn normal_forms(forms: &[Arc<Schema>]) -> Vec<&Arc<Schema>> {
    let mut normals: Vec<&Arc<Schema>> = forms.iter().filter(|form| form.traits.normal).collect();
    if normals.is_empty() {
        return forms.iter().collect();
    }
    if matches!(normals[0].shape, Shape::Seq(_)) {
        normals.truncate(1);
    } else if normals[0].traits.prefix.is_some() {
        // What else is called normal is only so in its own place, under the prefix.
        let first = normals[0];
        normals.retain(|form| Arc::ptr_eq(form, first) || matches!(form.shape, Shape::Seq(_) | Shape::Bool));
    }
    normals
}

/// The keys that must be there. Travis tells of them only when it also fills in defaults.
fn required_keys(schema: &Schema, options: Options) -> &[String] {
    if options.defaults { &schema.traits.required } else { &[] }
}

fn has_map(items: &[Value]) -> bool {
    items.iter().any(|item| matches!(item.data, Kind::Map(_)))
}

fn is_secure(value: &Value) -> bool {
    matches!(value.pairs(), [pair] if pair.key == "secure")
}

/// Travis calls a map with the one key `secure` a type of its own.
fn actual_type(value: &Value) -> &'static str {
    match value.pairs() {
        [_] if is_secure(value) => "secure",
        _ if matches!(value.data, Kind::Num(_)) => "str",
        _ => value.type_name(),
    }
}

/// Whether this is the form of secrets: `{secure: …}` or a string.
fn is_secret(schema: &Schema) -> bool {
    matches!(schema.forms(), [map, text] if map.traits.max == Some(1) && matches!(text.shape, Shape::Str))
}

fn flat(items: Vec<Value>) -> Vec<Value> {
    let mut all = Vec::with_capacity(items.len());
    for item in items {
        match item.data {
            Kind::Seq(inner) => all.extend(flat(inner)),
            _ => all.push(item),
        }
    }
    all
}

/// Whether a value is of the schema's form without any change.
pub(super) fn fits(schema: &Schema, value: &Value) -> bool {
    match (&schema.shape, &value.data) {
        (Shape::Any(forms), _) => forms.iter().any(|form| fits(form, value)),
        (Shape::Str, Kind::Str(_) | Kind::Num(_)) | (Shape::Num, Kind::Num(_)) | (Shape::Each(_), Kind::Map(_)) => true,
        (Shape::Bool, Kind::Bool(bool)) => {
            let values = &schema.traits.values;
            values.is_empty() || values.contains(&bool.to_string())
        }
        (Shape::Bool, Kind::Str(text)) => schema.traits.values.is_empty() && cast::boolean(text).is_some(),
        (Shape::Seq(item), Kind::Seq(items)) => items.iter().all(|value| value.is_null() || fits(item, value)),
        (Shape::Map(_), Kind::Map(pairs)) => {
            schema.keys().is_empty() || pairs.is_empty() || pairs.iter().any(|pair| knows(schema, &pair.key))
        }
        _ => false,
    }
}

fn knows(schema: &Schema, key: &str) -> bool {
    schema
        .keys()
        .iter()
        .any(|(name, value)| name == key || value.aliases().any(|alias| alias == key))
}

fn same_kind(schema: &Schema, value: &Value) -> bool {
    match (&schema.shape, &value.data) {
        (Shape::Any(forms), _) => forms.iter().any(|form| same_kind(form, value)),
        (Shape::Str, Kind::Bool(_)) if schema.traits.pattern.is_some() => false,
        (Shape::Str, Kind::Str(_) | Kind::Num(_) | Kind::Bool(_))
        | (Shape::Num, Kind::Num(_))
        | (Shape::Bool, Kind::Bool(_))
        | (Shape::Seq(_), Kind::Seq(_))
        | (Shape::Map(_) | Shape::Each(_), Kind::Map(_)) => true,
        _ => false,
    }
}

/// Whether a value of another form may be put under the map's prefix.
fn may_prefix(schema: &Schema, value: &Value) -> bool {
    let only = &schema.traits.prefix_only;
    let Some(inner) = schema.traits.prefix.as_deref().and_then(|key| schema.key(key)) else {
        return false;
    };
    if value.is_null() || !(only.is_empty() || only.iter().any(|kind| kind == value.type_name())) {
        return false;
    }
    match &value.data {
        Kind::Map(_) | Kind::Seq(_) => fits(inner, value),
        Kind::Bool(_) => schema.traits.change != Some(Change::Enable) && same_kind(inner, value),
        _ => fits(inner, value) || same_kind(inner, value),
    }
}

/// Keys that belong into the map under the prefix (`rvm` in `jobs`) move there, unless that map is given itself.
fn move_under_prefix(schema: &Schema, pairs: Vec<Pair>) -> Vec<Pair> {
    let Some(prefix) = schema
        .traits
        .prefix
        .as_deref()
        .filter(|_| schema.traits.prefix_only.is_empty())
    else {
        return pairs;
    };
    let Some(inner) = schema.key(prefix) else { return pairs };
    if pairs.iter().any(|pair| pair.key == prefix) {
        return pairs;
    }
    let takes = |pair: &Pair| takes_key(inner, &pair.key);
    let (moved, mut kept): (Vec<Pair>, Vec<Pair>) = pairs
        .into_iter()
        .partition(|pair| schema.key(&pair.key).is_none() && takes(pair));
    if let Some(first) = moved.first() {
        let at = first.at;
        kept.push(Pair {
            key: prefix.to_owned(),
            at,
            value: Value::new(Kind::Map(moved), at),
        });
    }
    kept
}

fn takes_key(schema: &Schema, key: &str) -> bool {
    match &schema.shape {
        Shape::Any(forms) => forms.iter().any(|form| takes_key(form, key)),
        Shape::Seq(item) => takes_key(item, key),
        Shape::Each(_) => true,
        Shape::Map(_) => knows(schema, key),
        _ => false,
    }
}
