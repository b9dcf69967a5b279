//! Strings of environment variables.

use serde_json::{Value, json};
use trainyard::travis::env;

use crate::support::{Score, list};

pub fn scores() -> Vec<Score> {
    let mut first = Score::new("env_vars pairs", 99.0);
    let mut second = Score::new("env_vars exports", 99.0);
    for (index, case) in list("env_vars.json").iter().enumerate() {
        let text = case["str"].as_str().expect("a string");
        let pairs = env::pairs(text);
        let got = pairs.as_ref().map_or(json!("error"), |pairs| json!(pairs));
        let expected = match case.get("error") {
            Some(_) => json!("error"),
            // For an empty string, the reference gives a list with only a null.
            None => case["pairs"].as_array().expect("a list").iter().filter(|pair| !pair.is_null()).cloned().collect(),
        };
        first.count(index, got == expected, || format!("{text}\n  got {got}\n  not {expected}"));
        if case.get("error").is_none() && got == expected {
            let pairs = pairs.unwrap_or_default();
            let exports: Vec<_> = pairs.iter().flat_map(|(key, value)| env::exports(key, value)).collect();
            let (got, expected): (Value, &Value) = (json!(exports), &case["exports"]);
            second.count(index, got == *expected, || format!("{text}\n  got {got}\n  not {expected}"));
        }
    }
    vec![first, second]
}
