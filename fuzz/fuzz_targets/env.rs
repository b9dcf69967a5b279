//! Strings of variables: both parsers accept any text, and the output of the second one stays within its input.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trainyard_travis::travis::env;

fuzz_target!(|text: &str| {
    for (key, value) in env::pairs(text).unwrap_or_default() {
        let given = key.len() + value.len() + 1;
        let taken: usize = env::exports(&key, &value).iter().map(|(key, value)| key.len() + value.len() + 1).sum();
        assert!(taken <= given, "more comes out than went in");
    }
});
