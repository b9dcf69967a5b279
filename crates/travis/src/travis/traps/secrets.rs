//! Traps about secrets in plain text. The values of the secrets are never shown.

use super::Trap;
use super::commands::included;
use crate::domain::{Rule, Severity, tokens};
use crate::travis::env;
use crate::yaml::{Data, Mark, Node};

/// Words in a variable's name that indicate a secret.
const NAMES: [&str; 9] =
    ["TOKEN", "SECRET", "PASSWORD", "PASSWD", "API_KEY", "APIKEY", "ACCESS_KEY", "PRIVATE_KEY", "CREDENTIAL"];

/// Returns a trap for each secret that everyone who can see the repository can read.
pub(super) fn plain_secrets(root: &Node) -> Vec<Trap> {
    let mut traps = Vec::new();
    for map in std::iter::once(root).chain(included(root)) {
        if let Some(entry) = map.get("env") {
            of_env(&entry.value, &mut traps);
        }
    }
    of_formats(root, "", &mut traps);
    traps.sort_by_key(|trap: &Trap| trap.at);
    traps.dedup_by_key(|trap| trap.at);
    traps
}

fn trap(what: &str, at: Mark, key: &str) -> Trap {
    let message = format!(
        "{what} is written in plain text, where everybody with access to the repository and its history can read it: \
         revoke it, and put the new one into the repository's settings or into `secure:`"
    );
    Trap { severity: Severity::Warning, rule: Rule::PlainSecret, message, at, key: key.to_owned() }
}

fn of_env(node: &Node, traps: &mut Vec<Trap>) {
    match &node.data {
        Data::Seq(items) => items.iter().for_each(|item| of_env(item, traps)),
        Data::Scalar { text, .. } => {
            let secret = env::pairs(text).unwrap_or_default().into_iter().find(|(name, value)| is_secret(name, value));
            traps.extend(secret.map(|(name, _)| trap(&format!("the value of {name}"), node.at, "env")));
        }
        Data::Map(entries) => {
            for entry in entries.iter().filter(|entry| entry.key != "secure") {
                match entry.value.text() {
                    Some(text) if is_secret(&entry.key, text) => {
                        traps.push(trap(&format!("the value of {}", entry.key), entry.value.at, "env"));
                    }
                    Some(_) => {}
                    // `global`, `jobs` and `matrix` hold lists; `NAME: {secure: …}` is not plain text.
                    None => of_env(&entry.value, traps),
                }
            }
        }
        Data::Unresolved => {}
    }
}

/// Returns true if the name indicates a secret and the value looks like one. `PASSWORD=travis` for a test's database, a
/// path, and the name of another variable do not.
fn is_secret(name: &str, value: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let value = value.trim_matches(['"', '\'']);
    let has = |is: fn(&char) -> bool| value.chars().any(|c| is(&c));
    let looks_random = value.len() >= 12 && has(char::is_ascii_digit) && has(char::is_ascii_alphabetic);
    NAMES.iter().any(|word| name.contains(word))
        && looks_random
        && !has(|c| c.is_whitespace() || "$/\\.:<>{}*".contains(*c))
}

/// Reports texts with the form of a known token, wherever they stand. The content of `secure:` only looks like a token.
fn of_formats(node: &Node, key: &str, traps: &mut Vec<Trap>) {
    match &node.data {
        Data::Seq(items) => items.iter().for_each(|item| of_formats(item, key, traps)),
        Data::Map(entries) => {
            for entry in entries.iter().filter(|entry| entry.key != "secure") {
                of_formats(&entry.value, if key.is_empty() { &entry.key } else { key }, traps);
            }
        }
        Data::Scalar { text, .. } => {
            if let Some((_, format)) = tokens(text).first() {
                traps.push(trap(&format.in_words(), node.at, key));
            }
        }
        Data::Unresolved => {}
    }
}
