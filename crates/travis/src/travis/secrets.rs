//! The `secure:` strings of a job's config.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::env;
use super::matrix::Config;
use super::shell::is_name;

/// Replacement for a secret that was not encrypted with the repository's key, outside of `env`.
const UNDECRYPTABLE: &str = "[unable to decrypt]";
/// Minimum length of a secret that is hidden in the log, as on Travis: hiding shorter ones would hide half the log.
pub const SHORTEST: usize = 3;

/// Returns every `secure:` string in a config, each once.
pub fn ciphers(config: &Json) -> BTreeSet<&str> {
    config.as_object().map(ciphers_of).unwrap_or_default()
}

/// Works like [`ciphers`].
pub fn ciphers_of(config: &Config) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    config.values().for_each(|value| collect(value, &mut found));
    found
}

fn collect<'a>(value: &'a Json, found: &mut BTreeSet<&'a str>) {
    match value {
        Json::Object(map) => {
            for (key, value) in map {
                match value {
                    Json::String(cipher) if key == "secure" => {
                        found.insert(cipher);
                    }
                    other => collect(other, found),
                }
            }
        }
        Json::Array(items) => items.iter().for_each(|item| collect(item, found)),
        _ => {}
    }
}

/// Replaces each `{secure: …}` of the config with its clear text, except in `env`, which the script handles variable by
/// variable.
pub fn reveal(config: &mut Json, decrypted: &[(String, String)]) {
    let Some(map) = config.as_object_mut() else { return };
    map.iter_mut().filter(|(key, _)| *key != "env").for_each(|(_, value)| replace(value, decrypted));
}

fn replace(value: &mut Json, decrypted: &[(String, String)]) {
    let clear = match value {
        Json::Object(map) if map.len() == 1 => map.get("secure").and_then(Json::as_str).map(|cipher| {
            let clear = decrypted.iter().find(|(secure, _)| secure == cipher);
            clear.map_or(UNDECRYPTABLE, |(_, clear)| clear).to_owned()
        }),
        _ => None,
    };
    match (clear, value) {
        (Some(clear), value) => *value = Json::String(clear),
        (None, Json::Object(map)) => map.values_mut().for_each(|value| replace(value, decrypted)),
        (None, Json::Array(items)) => items.iter_mut().for_each(|item| replace(item, decrypted)),
        _ => {}
    }
}

/// Returns the texts that must not show in the job's log. For a `secure:` item of `env`, which holds `NAME=value`
/// pairs, these are the values; for any other item, the whole clear text. Each text is returned as written and without
/// its quotes.
pub fn to_hide(config: &Json, decrypted: &[(String, String)]) -> BTreeSet<String> {
    let items = config.get("env").and_then(Json::as_array).into_iter().flatten();
    let of_pairs: BTreeSet<&str> = items.filter_map(|item| item.get("secure")?.as_str()).collect();
    let mut hidden = BTreeSet::new();
    for (cipher, clear) in decrypted {
        let pairs = of_pairs.contains(cipher.as_str()).then(|| env::pairs(clear).ok()).flatten();
        // A text that is not a list of variables is hidden as a whole, whatever it was meant to be.
        let Some(pairs) = pairs.filter(|pairs| pairs.iter().all(|(name, _)| is_name(name))) else {
            hidden.insert(clear.clone());
            continue;
        };
        for (name, value) in pairs {
            hidden.extend(env::exports(&name, &value).into_iter().map(|(_, value)| value));
            hidden.insert(value);
        }
    }
    let bare: Vec<String> = hidden.iter().map(|text| unquoted(text).to_owned()).collect();
    hidden.extend(bare);
    hidden.retain(|text| text.chars().count() >= SHORTEST);
    hidden
}

fn unquoted(text: &str) -> &str {
    let inner = |quote: char| text.strip_prefix(quote)?.strip_suffix(quote);
    inner('"').or_else(|| inner('\'')).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ciphers_are_found_and_replaced_wherever_they_stand() {
        let mut config = json!({
            "env": [{"secure": "one"}, {"B": {"secure": "two"}}],
            "deploy": [{"provider": "releases", "api_key": {"secure": "three"}}],
            "addons": {"x": {"secure": "four"}},
        });
        assert_eq!(ciphers(&config).into_iter().collect::<Vec<_>>(), ["four", "one", "three", "two"]);
        reveal(&mut config, &[("three".to_owned(), "clear".to_owned()), ("one".to_owned(), "A=1".to_owned())]);
        assert_eq!(config["deploy"][0]["api_key"], "clear");
        assert_eq!(config["addons"]["x"], "[unable to decrypt]");
        assert_eq!(config["env"][0]["secure"], "one", "the script sets variables itself");
    }

    #[test]
    fn of_pairs_the_values_are_hidden_and_of_others_everything() {
        let config = json!({
            "env": [{"secure": "pairs"}, {"URL": {"secure": "url"}}, {"secure": "no pairs"}],
            "deploy": {"token": {"secure": "token"}},
        });
        let decrypted = [
            ("pairs", "A=hunter2 B=\"two words\" C=x"),
            ("url", "postgres://u:p@db/x?ssl=on"),
            ("no pairs", "quote\" open"),
            ("token", "A=1"),
        ]
        .map(|(cipher, clear)| (cipher.to_owned(), clear.to_owned()));
        let hidden = to_hide(&config, &decrypted);
        let expected = ["\"two words\"", "A=1", "hunter2", "postgres://u:p@db/x?ssl=on", "quote\" open", "two words"];
        assert_eq!(hidden.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    }
}
