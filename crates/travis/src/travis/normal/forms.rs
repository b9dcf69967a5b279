//! Forms that a value has or can be put into.

use std::sync::Arc;

use super::cast;
use super::value::{Kind, Pair, Value};
use crate::travis::schema::{Change, Schema, Shape};

/// Returns the forms that the others are changed into: only the first marked form if that is a list, else all that are
/// marked. Without a marked form, all forms are returned.
pub(super) fn normal_forms(forms: &[Arc<Schema>]) -> Vec<&Arc<Schema>> {
    let mut normals: Vec<&Arc<Schema>> = forms.iter().filter(|form| form.traits.normal).collect();
    if normals.is_empty() {
        return forms.iter().collect();
    }
    if matches!(normals[0].shape, Shape::Seq(_)) {
        normals.truncate(1);
    } else if normals[0].traits.prefix.is_some() {
        // Other forms that are marked as normal are so only in their own place, under the prefix.
        let first = normals[0];
        normals.retain(|form| Arc::ptr_eq(form, first) || matches!(form.shape, Shape::Seq(_) | Shape::Bool));
    }
    normals
}

/// Returns true for the schema of secrets: `{secure: …}` or a string.
pub(super) fn is_secret(schema: &Schema) -> bool {
    matches!(schema.forms(), [map, text] if map.traits.max == Some(1) && matches!(text.shape, Shape::Str))
}

pub(super) fn is_secure(value: &Value) -> bool {
    matches!(value.pairs(), [pair] if pair.key == "secure")
}

pub(super) fn has_map(items: &[Value]) -> bool {
    items.iter().any(|item| matches!(item.data, Kind::Map(_)))
}

pub(super) fn flat(items: Vec<Value>) -> Vec<Value> {
    let mut all = Vec::with_capacity(items.len());
    for item in items {
        match item.data {
            Kind::Seq(inner) => all.extend(flat(inner)),
            _ => all.push(item),
        }
    }
    all
}

/// Returns true if a value has the schema's form without any change.
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
    schema.key(key).is_some() || schema.key_of_alias(key).is_some()
}

pub(super) fn same_kind(schema: &Schema, value: &Value) -> bool {
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

/// Returns true if a value of another form may be put under the map's prefix.
pub(super) fn may_prefix(schema: &Schema, value: &Value) -> bool {
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

/// Moves keys that belong in the map under the prefix (`rvm` in `jobs`) there, unless the file has that map itself.
pub(super) fn move_under_prefix(schema: &Schema, pairs: Vec<Pair>) -> Vec<Pair> {
    let Some(prefix) = schema.traits.prefix.as_deref().filter(|_| schema.traits.prefix_only.is_empty()) else {
        return pairs;
    };
    let Some(inner) = schema.key(prefix) else { return pairs };
    if pairs.iter().any(|pair| pair.key == prefix) {
        return pairs;
    }
    let takes = |pair: &Pair| takes_key(inner, &pair.key);
    let (moved, mut kept): (Vec<Pair>, Vec<Pair>) =
        pairs.into_iter().partition(|pair| schema.key(&pair.key).is_none() && takes(pair));
    if let Some(first) = moved.first() {
        let at = first.at;
        kept.push(Pair { key: prefix.to_owned(), at, value: Value::new(Kind::Map(moved), at) });
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
