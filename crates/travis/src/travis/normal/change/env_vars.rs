//! Lists of variables, in which every item becomes a map.

use std::collections::HashMap;

use serde_json::json;

use super::Changer;
use crate::travis::env;
use crate::travis::normal::message::{Code, Level};
use crate::travis::normal::value::{Kind, Pair, Value};
use crate::yaml::Mark;

/// Maximum number of variables in the strings of one file. Those in maps are counted as nodes by the reader.
const MAX_VARIABLES: usize = 5_000;

/// Returns the list of maps for `env.jobs`, `env.global` or a job's `env`.
pub(super) fn env_vars(changer: &mut Changer, value: Value) -> Value {
    let at = value.at;
    let mut maps = Vec::new();
    collect(changer, value, &mut maps);
    Value::new(Kind::Seq(maps), at)
}

fn collect(changer: &mut Changer, value: Value, maps: &mut Vec<Value>) {
    let at = value.at;
    match value.data {
        Kind::Seq(items) => items.into_iter().for_each(|item| collect(changer, item, maps)),
        Kind::Null => maps.push(Value::new(Kind::Map(Vec::new()), at)),
        Kind::Str(text) => {
            let pairs = parse(changer, &text, at);
            maps.push(Value::new(Kind::Map(pairs), at));
        }
        Kind::Map(pairs) => {
            let empty = pairs.is_empty();
            let pairs: Vec<Pair> = pairs.into_iter().filter_map(|pair| env_var(changer, pair)).collect();
            if empty || !pairs.is_empty() {
                maps.push(Value::new(Kind::Map(pairs), at));
            }
        }
        Kind::Bool(_) | Kind::Num(_) => {
            let text = value.text().unwrap_or_default();
            let pairs = parse(changer, &text, at);
            maps.push(Value::new(Kind::Map(pairs), at));
        }
    }
}

fn parse(changer: &mut Changer, text: &str, at: Mark) -> Vec<Pair> {
    let Ok(pairs) = env::pairs(text) else {
        changer.report(Level::Error, Code::InvalidEnvVar, json!({"var": text}), at);
        return Vec::new();
    };
    changer.variables += pairs.len();
    if changer.variables > MAX_VARIABLES {
        changer.report(Level::Error, Code::TooManyVars, json!({"most": MAX_VARIABLES}), at);
        return Vec::new();
    }
    let mut all: Vec<Pair> = Vec::with_capacity(pairs.len());
    let mut places: HashMap<String, usize> = HashMap::new();
    for (key, value) in pairs {
        let value = Value::str(value, at);
        match places.get(&key) {
            Some(&place) => all[place].value = value,
            None => {
                places.insert(key.clone(), all.len());
                all.push(Pair { key, at, value });
            }
        }
    }
    all
}

fn env_var(changer: &mut Changer, pair: Pair) -> Option<Pair> {
    changer.path.push(pair.key.clone());
    let at = pair.value.at;
    let secure = matches!(pair.value.pairs(), [inner] if inner.key == "secure");
    let value = match &pair.value.data {
        Kind::Null if pair.key == "secure" => {
            let key = changer.path.join(".");
            changer.report(Level::Warn, Code::Empty, json!({"key": key}), pair.at);
            changer.path.pop();
            return None;
        }
        Kind::Null => Value::str("", at),
        Kind::Map(_) if secure => pair.value,
        Kind::Seq(items)
            if matches!(items.first().map(|v| &v.data), Some(Kind::Str(_) | Kind::Num(_) | Kind::Bool(_))) =>
        {
            changer.first(items.clone(), at)
        }
        Kind::Seq(_) | Kind::Map(_) => changer.invalid_type("str", pair.value),
        _ => Value::str(pair.value.text().unwrap_or_default(), at),
    };
    changer.path.pop();
    Some(Pair { value, ..pair })
}
