//! Changes of form that the table only names.

use super::env_vars;
use std::sync::Arc;

use serde_json::json;

use super::Changer;
use crate::travis::normal::message::{Code, Level};
use crate::travis::normal::repair::nearest;
use crate::travis::normal::value::{Kind, Pair, Value};
use crate::travis::schema::{Change, Keys, Schema, Shape, Traits};
use crate::yaml::Mark;

/// Returns the value after the schema's special change of form, if that applies to it.
pub(super) fn change_special(changer: &mut Changer, schema: &Schema, value: &Value) -> Option<Value> {
    match (schema.traits.change?, &value.data) {
        (Change::EnvVars, Kind::Bool(_) | Kind::Num(_)) => None,
        (Change::EnvVars, _) => Some(env_vars::env_vars(changer, value.clone())),
        (Change::Enable, Kind::Bool(_)) => Some(value.clone().under("enabled")),
        (Change::Cache, Kind::Str(_) | Kind::Num(_)) => {
            let map = cache(changer, schema, std::slice::from_ref(value), value.at);
            Some(changer.map(schema, map))
        }
        (Change::Cache, Kind::Seq(items)) => {
            let map = cache(changer, schema, items, value.at);
            Some(changer.map(schema, map))
        }
        _ => None,
    }
}

/// Combines items into a map: known words become switches, other words become directories, and maps are merged.
fn cache(changer: &mut Changer, schema: &Schema, items: &[Value], at: Mark) -> Value {
    let mut pairs: Vec<Pair> = Vec::new();
    let mut directories = Vec::new();
    for item in items {
        if let Kind::Map(more) = &item.data {
            pairs.extend(more.iter().cloned());
            continue;
        }
        let Some(text) = item.text() else { continue };
        let word = text.trim_start_matches(':');
        let is_switch = schema.key(word).is_some_and(|key| matches!(key.shape, Shape::Bool));
        if is_switch {
            if word != text {
                changer.report(Level::Info, Code::FindValue, json!({"original": text, "value": word}), item.at);
            }
            let value = Value::new(Kind::Bool(true), item.at);
            pairs.push(Pair { key: word.to_owned(), at: item.at, value });
        } else {
            directories.push(item.clone());
        }
    }
    if !directories.is_empty() {
        let given = pairs.iter_mut().find(|pair| pair.key == "directories");
        match given.map(|pair| &mut pair.value.data) {
            Some(Kind::Seq(items)) => items.extend(directories),
            _ => pairs.push(Pair { key: "directories".to_owned(), at, value: Value::new(Kind::Seq(directories), at) }),
        }
    }
    Value::new(Kind::Map(pairs), at)
}

/// Applies the changes of a map whose keys and values are in their normal form.
pub(super) fn after_map(schema: &Schema, mut value: Value) -> Value {
    let Kind::Map(pairs) = &mut value.data else {
        return value;
    };
    match schema.traits.change {
        Some(Change::Enable) => enable(pairs),
        Some(Change::Inherit) => inherit(pairs, &schema.traits.inherit),
        _ => {}
    }
    value
}

/// Changes a deployment, whose provider selects the form.
pub(super) fn provider(changer: &mut Changer, forms: &[Arc<Schema>], value: Value) -> Value {
    let value = match value.data {
        Kind::Str(_) => value.under("provider"),
        _ => value,
    };
    if !matches!(value.data, Kind::Map(_)) {
        return changer.invalid_type("map", value);
    }
    let named = value.get("provider").and_then(Value::text);
    if let Some(provider) = value.get("provider").filter(|provider| matches!(provider.data, Kind::Map(_))) {
        changer.path.push("provider".to_owned());
        let provider = changer.invalid_type("str", provider.clone());
        changer.path.pop();
        return if provider.is_null() { provider } else { value };
    }
    let names: Vec<&str> = forms.iter().filter_map(|form| provider_of(form)).collect();
    let mended = named.as_deref().and_then(|name| {
        let known = names.iter().find(|known| **known == name).copied();
        known.or_else(|| nearest(name, names.iter().copied()).filter(|_| changer.options.fix))
    });
    let form = forms.iter().find(|form| provider_of(form) == mended && mended.is_some());
    let Some(map) = form.or(forms.first()).and_then(|form| form.forms().iter().find(|f| !f.keys().is_empty())) else {
        return value;
    };
    let map = match (form, mended) {
        (Some(_), Some(name)) => {
            changer.provider = Some(name.to_owned());
            map.clone()
        }
        // For a deployment without a known provider, only what all providers share is known.
        _ => Arc::new(shared(map, &names)),
    };
    let changed = changer.map(&map, value);
    changer.provider = None;
    changed
}

/// Reports facts about a value in its final spelling.
pub(super) fn about_value(changer: &mut Changer, schema: &Schema, text: &str, at: Mark) {
    if let Some(about) = schema.traits.about.get(text) {
        if let Some(info) = &about.deprecated {
            changer.report(Level::Warn, Code::DeprecatedValue, json!({"value": text, "info": info}), at);
        }
        if about.edge {
            changer.report(Level::Info, Code::Edge, json!({}), at);
        }
    }
    for var in template_vars(text).take(MAX_VARS).filter(|_| !schema.traits.vars.is_empty()) {
        if !schema.traits.vars.iter().any(|known| known == var) {
            changer.report(Level::Warn, Code::UnknownVar, json!({"var": var}), at);
        }
    }
}

/// Maximum number of `%{…}` in a template that are checked.
const MAX_VARS: usize = 200;

/// Returns the provider that a form of deployment is for.
fn provider_of(form: &Schema) -> Option<&str> {
    let provider = form.key("provider")?;
    provider.traits.values.first().map(String::as_str)
}

/// Returns the schema for a deployment of any provider.
fn shared(map: &Schema, names: &[&str]) -> Schema {
    const SHARED: [&str; 7] = ["provider", "on", "run", "allow_failure", "cleanup", "skip_cleanup", "edge"];
    let mut keys = map.keys().to_vec();
    keys.retain(|(key, _)| SHARED.contains(&key.as_str()));
    if let Some((_, provider)) = keys.iter_mut().find(|(key, _)| key == "provider") {
        Arc::make_mut(provider).traits.values = names.iter().map(|name| (*name).to_owned()).collect();
    }
    let traits = Traits { required: vec!["provider".to_owned()], ..map.traits.clone() };
    Schema { shape: Shape::Map(Keys::new(keys)), traits }
}

/// Replaces `disabled: true` with `enabled: false`, and `disabled: false` with `enabled: true`.
fn enable(pairs: &mut [Pair]) {
    for pair in pairs.iter_mut().filter(|pair| pair.key == "disabled") {
        if let Kind::Bool(disabled) = pair.value.data {
            pair.key = "enabled".to_owned();
            pair.value.data = Kind::Bool(!disabled);
        }
    }
}

/// Hands keys down to the maps in sibling lists that lack them.
fn inherit(pairs: &mut Vec<Pair>, keys: &[String]) {
    let (handed, mut rest): (Vec<Pair>, Vec<Pair>) =
        std::mem::take(pairs).into_iter().partition(|p| keys.contains(&p.key));
    for pair in &mut rest {
        let Kind::Seq(items) = &mut pair.value.data else {
            continue;
        };
        for item in items {
            let Kind::Map(map) = &mut item.data else { continue };
            for handed in &handed {
                if !map.iter().any(|pair| pair.key == handed.key) {
                    map.push(handed.clone());
                }
            }
        }
    }
    *pairs = rest;
}

/// Returns the names in `%{…}`.
fn template_vars(text: &str) -> impl Iterator<Item = &str> {
    text.split("%{").skip(1).filter_map(|rest| rest.split_once('}').map(|(name, _)| name.trim()))
}
