//! Defaults, and keys without effect. Both depend on the language and the system of the file.

use serde_json::json;

use super::Changer;
use crate::travis::normal::message::{Code, Level};
use crate::travis::normal::value::{Kind, Pair, Value};
use crate::travis::schema::{Default_, Schema, Shape, Support};

/// Fills in the keys that have a default and are missing.
pub(super) fn with_defaults(changer: &mut Changer, schema: &Schema, mut value: Value) -> Value {
    if !changer.options.defaults {
        return value;
    }
    for (key, known) in schema.keys().iter().filter(|(_, known)| !known.traits.defaults.is_empty()) {
        if value.get(key).is_some_and(|given| !given.is_empty()) {
            continue;
        }
        let holds = |default: &&Default_| default.support.refused(|on| values_of(&value, on)).is_none();
        let Some(text) = known.traits.defaults.iter().find(holds).and_then(|default| default.value.clone()) else {
            continue;
        };
        let args = json!({"key": key, "default": text});
        changer.report_in_map(Level::Info, Code::Default, args, value.at);
        let scalar = Value::str(text, value.at);
        let given = if known.item().is_some() { scalar.wrapped() } else { scalar };
        if let Kind::Map(pairs) = &mut value.data {
            pairs.retain(|pair| pair.key != *key);
            pairs.push(Pair { key: key.clone(), at: given.at, value: given });
        }
    }
    value
}

/// Reports keys and values without effect on the given language or system.
pub(super) fn check_support(changer: &mut Changer, schema: &Schema, value: &Value) {
    if changer.options.support {
        check_map(changer, schema, value, &|on| values_of(value, on));
    }
}

fn check_map(changer: &mut Changer, schema: &Schema, value: &Value, outer: &dyn Fn(&str) -> Vec<String>) {
    let own = |on: &str| {
        let own = values_of(value, on);
        if own.is_empty() { outer(on) } else { own }
    };
    for pair in value.pairs() {
        let Some(known) = schema.key(&pair.key) else { continue };
        changer.path.push(pair.key.clone());
        check_value(changer, known, &pair.key, &pair.value, &own);
        changer.path.pop();
    }
}

fn check_value(changer: &mut Changer, schema: &Schema, key: &str, value: &Value, on: &dyn Fn(&str) -> Vec<String>) {
    let mut support = schema.traits.support.clone();
    if let Some(item) = schema.item() {
        support.only.extend(item.traits.support.only.clone());
    }
    refuse(changer, &support, key, value, on);
    let scalars = if value.items().is_empty() { std::slice::from_ref(value) } else { value.items() };
    let about = schema.item().map_or(schema, |item| item);
    for scalar in scalars {
        match &scalar.data {
            Kind::Map(_) => check_maps(changer, schema, scalar, on),
            _ => {
                let text = scalar.text().unwrap_or_default();
                if let Some(known) = about.traits.about.get(&text) {
                    refuse(changer, &known.support, key, scalar, on);
                }
            }
        }
    }
}

fn check_maps(changer: &mut Changer, schema: &Schema, value: &Value, on: &dyn Fn(&str) -> Vec<String>) {
    match &schema.shape {
        Shape::Map(_) => check_map(changer, schema, value, on),
        Shape::Seq(item) => check_maps(changer, item, value, on),
        Shape::Any(forms) if schema.traits.detect.is_some() => {
            let named = value.get("provider").and_then(Value::text);
            let is_named =
                |form: &Schema| form.key("provider").is_some_and(|p| p.traits.values.first() == named.as_ref());
            if let Some(form) = forms.iter().find(|form| is_named(form)) {
                check_maps(changer, form, value, on);
            }
        }
        Shape::Any(forms) => {
            if let Some(form) = forms.iter().find(|form| !form.keys().is_empty() || form.item().is_some()) {
                check_maps(changer, form, value, on);
            }
        }
        _ => {}
    }
}

fn refuse(changer: &mut Changer, support: &Support, key: &str, value: &Value, on: &dyn Fn(&str) -> Vec<String>) {
    if let Some((on_key, on_value)) = support.refused(on) {
        let args = json!({"on_key": on_key, "on_value": on_value, "key": key, "value": value.json()});
        changer.report(Level::Warn, Code::Unsupported, args, value.at);
    }
}

fn values_of(value: &Value, key: &str) -> Vec<String> {
    let Some(value) = value.get(key) else { return Vec::new() };
    let values = if value.items().is_empty() { std::slice::from_ref(value) } else { value.items() };
    values.iter().filter_map(Value::text).collect()
}
