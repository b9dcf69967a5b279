//! Conditions: each text that can be parsed can be checked and evaluated, twice with the same result.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trainyard_travis::travis::condition::{self, Data};

fuzz_target!(|text: &str| {
    let Ok(condition) = condition::parse(text) else { return };
    let _ = condition.check();
    let variables = serde_json::json!({"type": "push", "branch": "main", "commit_message": text, "fork": false});
    let env = serde_json::json!([{"A": "1"}, "B=2 C=\"3 4\""]);
    let holds = || condition.holds(Data { variables: &variables, env: &env });
    assert_eq!(holds(), holds());
});
