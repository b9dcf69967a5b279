//! The normal form of single keys.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use trainyard::travis::normal::{Level, Message, Options, normalize, read};

use crate::support::{Score, list};

pub fn options(opts: &Value) -> Options {
    let on = |name: &str| opts[name] == true;
    Options { alert: on("alert"), defaults: on("defaults"), fix: on("fix"), drop: on("drop"), support: on("support") }
}

pub fn said(message: &Message) -> String {
    let key = if message.key.is_empty() { "root" } else { &message.key };
    format!("{} {key} {} {}", message.level.as_str(), message.code.as_str(), sorted(&json!(message.args)))
}

pub fn expected(message: &Value) -> String {
    let text = |name: &str| message[name].as_str().unwrap_or_default().to_owned();
    let mut args = message.get("args").cloned().unwrap_or(json!({}));
    if let Some(args) = args.as_object_mut() {
        args.remove("line");
    }
    format!("{} {} {} {}", text("level"), text("key"), text("code"), sorted(&args))
}

/// Formats a value with the keys of all maps in order, so that only the content is compared.
pub fn sorted(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut pairs: Vec<String> = map.iter().map(|(key, value)| format!("{key:?}:{}", sorted(value))).collect();
            pairs.sort();
            format!("{{{}}}", pairs.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(sorted).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

pub fn scores() -> Vec<Score> {
    let mut verdicts = Score::new("valid verdict and config", 97.0);
    let mut messages = Score::new("valid messages", 98.0);
    for (index, case) in list("valid.json").iter().enumerate() {
        let text = case["yaml"].as_str().expect("a string");
        let document = read(text);
        let normal = document.ok().and_then(|document| normalize(&document, options(&case["opts"])).ok());
        let Some(normal) = normal else {
            verdicts.count(index, case.get("rejected").is_some(), || format!("{text}\n  was rejected"));
            continue;
        };
        let valid = normal.messages.iter().all(|message| message.level == Level::Info);
        let (got, wanted) = (sorted(&normal.config), sorted(&case["normalized"]));
        let equal = got == wanted && valid == (case["valid"] == true) && case.get("rejected").is_none();
        let got_said: BTreeSet<String> = normal.messages.iter().map(said).collect();
        let wanted_said: BTreeSet<String> = case["msgs"].as_array().expect("a list").iter().map(expected).collect();
        let what = || {
            let opts = &case["opts"];
            format!("{text:?} {opts}\n  got {got}\n  not {wanted}\n  got {got_said:?}\n  not {wanted_said:?}")
        };
        verdicts.count(index, equal, what);
        messages.count(index, got_said == wanted_said, what);
    }
    vec![verdicts, messages]
}
