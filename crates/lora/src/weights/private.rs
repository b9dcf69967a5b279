//! Detection of facts in a file's metadata that its author may not want to publish.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;
use serde::Serialize;

use crate::domain::tokens;
use crate::secret::covered;

/// A private fact in the metadata. It never contains a secret itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Private {
    /// A token or a password, with the service that issued it.
    Secret {
        /// The name of the metadata entry.
        key: String,
        /// The service, such as `GitHub`; `a private key`; or `an address` for a password in a URL.
        whose: &'static str,
    },
    /// A path in a user's home folder.
    Home {
        /// The name of the metadata entry.
        key: String,
        /// The name of the user.
        user: String,
    },
    /// Captions and folders of the training data.
    DataSet {
        /// The name of the metadata entry.
        key: String,
    },
}

/// The metadata entries in which sd-scripts publishes captions and the names of folders.
const OF_DATA_SET: [&str; 3] = ["ss_tag_frequency", "ss_dataset_dirs", "ss_datasets"];
/// The values of these entries that contain no captions or folders.
const NOTHING: [&str; 5] = ["", "{}", "[]", "null", "None"];
/// Maximum number of facts per file. Real files have a few.
const MAX_FACTS: usize = 1000;

/// Compiles a pattern from this file, which is known to be valid.
fn pattern(text: &str) -> Option<Regex> {
    Regex::new(text).ok()
}

static HOME: LazyLock<Option<Regex>> =
    LazyLock::new(|| pattern(r#"(?:^|[^\w./-])(?:[A-Za-z]:)?(?:/|\\{1,4})(?:home|Users)(?:/|\\{1,4})([^/\\\s"',]+)"#));
static PASSWORD: LazyLock<Option<Regex>> = LazyLock::new(|| pattern(r"://[^/\s:@]*:([^/\s@]+)@"));

/// Returns the private facts in the metadata, each once.
pub(super) fn facts(metadata: &BTreeMap<String, String>) -> Vec<Private> {
    let mut facts = Vec::new();
    for (key, text) in metadata {
        if facts.len() >= MAX_FACTS {
            break;
        }
        let key = hide(key);
        let secrets = secrets(text).into_iter().map(|(_, whose)| Private::Secret { key: key.clone(), whose });
        facts.extend(secrets.take(MAX_FACTS));
        let homes = HOME.iter().flat_map(|home| home.captures_iter(text)).filter_map(|home| home.get(1));
        facts.extend(homes.take(MAX_FACTS).map(|user| Private::Home { key: key.clone(), user: hide(user.as_str()) }));
        if OF_DATA_SET.contains(&key.as_str()) && !NOTHING.contains(&text.as_str()) {
            facts.push(Private::DataSet { key });
        }
    }
    facts.dedup();
    facts
}

/// Replaces what looks like a token or a password in a text with `[secret]`.
pub(super) fn hide(text: &str) -> String {
    covered(text, secrets(text).into_iter().map(|(range, _)| range).collect())
}

/// Returns the tokens and passwords in the order of their positions.
fn secrets(text: &str) -> Vec<(std::ops::Range<usize>, &'static str)> {
    let mut found: Vec<_> = tokens(text).into_iter().map(|(range, format)| (range, format.service)).collect();
    let passwords = PASSWORD.iter().flat_map(|password| password.captures_iter(text));
    found.extend(passwords.filter_map(|password| password.get(1)).map(|secret| (secret.range(), "an address")));
    found.sort_by_key(|(range, _)| (range.start, range.end));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes_secrets_and_captions_are_told_and_secrets_hidden() {
        let token = format!("hf_{}", "a1".repeat(17));
        let metadata = [
            ("ss_sd_model_name", "/home/ada/models/base.safetensors".to_owned()),
            ("ss_training_comment", format!("pushed with {token}, see https://ada:geheim@host/x")),
            ("ss_output_name", r#"{"dir": "C:\\Users\\Grace H\\out"}"#.to_owned()),
            ("ss_tag_frequency", r#"{"1_ada": {"a red hat": 1}}"#.to_owned()),
            ("ss_dataset_dirs", "{}".to_owned()),
            ("modelspec.title", "https://example.org/home/page".to_owned()),
        ];
        let metadata: BTreeMap<_, _> = metadata.into_iter().map(|(key, text)| (key.to_owned(), text)).collect();
        let key = |key: &str| key.to_owned();
        let mut told = facts(&metadata);
        told.sort_by_key(|fact| format!("{fact:?}"));
        let wanted = [
            Private::DataSet { key: key("ss_tag_frequency") },
            Private::Home { key: key("ss_output_name"), user: key("Grace") },
            Private::Home { key: key("ss_sd_model_name"), user: key("ada") },
            Private::Secret { key: key("ss_training_comment"), whose: "Hugging Face" },
            Private::Secret { key: key("ss_training_comment"), whose: "an address" },
        ];
        assert_eq!(told, wanted);
        let hidden = hide(&metadata["ss_training_comment"]);
        assert_eq!(hidden, "pushed with [secret], see https://ada:[secret]@host/x");
    }
}
