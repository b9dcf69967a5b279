//! Rules on keys that a trainer does not know.

use super::{Config, Map, finding};
use crate::dialect::Unknown;
use crate::domain::Severity;
use crate::keys::{Section, table};
use crate::tree::Entry;
use crate::{Dialect, Finding};

/// Maximum number of keys per map that are compared with the known keys.
const MAX_COMPARED: usize = 100;

/// Finds unknown keys. Most trainers ignore a key that they do not know, so a misspelled key means that the training
/// silently uses a default.
pub(super) fn unknown_key(config: &Config<'_>) -> Vec<Finding> {
    let of_map = |map| unknown(config, map).filter_map(move |(entry, known)| misspelling(config, map, entry, known));
    config.maps.iter().flat_map(of_map).collect()
}

/// Returns true if the map has a misspelling of `key`.
pub(super) fn is_misspelled(config: &Config<'_>, map: &Map<'_>, key: &str) -> bool {
    unknown(config, map).any(|(entry, known)| meant(entry.name(), known) == Some(key))
}

fn unknown<'a>(config: &Config<'a>, map: &Map<'a>) -> impl Iterator<Item = (&'a Entry, &'static Section)> {
    let known = table(config.dialect).section(&map.path);
    let pairs = known.into_iter().flat_map(move |known| map.entries.iter().map(move |entry| (*entry, known)));
    pairs.filter(|(entry, known)| !known.contains_key(entry.name())).take(MAX_COMPARED).collect::<Vec<_>>().into_iter()
}

fn misspelling(config: &Config<'_>, map: &Map<'_>, entry: &Entry, known: &Section) -> Option<Finding> {
    let key = entry.name();
    let mode = config.dialect.unknown();
    let fate = if mode == Unknown::Refused { "the trainer refuses" } else { "the trainer ignores" };
    let say = |rule, severity, message| Some(finding(rule, severity, message, entry.at, map.path_of(key)));
    if let Some(meant) = meant(key, known) {
        let is_camel = key.contains(|c: char| c.is_uppercase()) && snake_case(key) == meant;
        let rule = if is_camel { "camel-case" } else { "unknown-key" };
        let severity = if mode == Unknown::Open { Severity::Warning } else { Severity::Error };
        return say(rule, severity, format!("{key} is a key that {fate}: did you mean {meant}?"));
    }
    match mode {
        Unknown::Refused => {
            let home = table(config.dialect).home_of(key).map(|home| format!(": it belongs in {home}"));
            let advice = home.unwrap_or_else(|| ": remove it".to_owned());
            say("unknown-key", Severity::Error, format!("{key} is a key that {fate} here{advice}"))
        }
        // Plugins add their own keys.
        Unknown::Ignored if config.dialect == Dialect::Axolotl && map.gives("plugins") => None,
        Unknown::Ignored => {
            let message = format!("{key} is not a known key of {}", config.dialect.name());
            say("unknown-key", Severity::Warning, message)
        }
        Unknown::Open => None,
    }
}

/// Returns the known key that a misspelled key stands for: the same in snake case, or at most two letters away.
fn meant(key: &str, known: &Section) -> Option<&'static str> {
    if key.len() > 60 {
        return None;
    }
    let snake = snake_case(key);
    let far = if snake.len() < 6 { 1 } else { 2 };
    let near = known.keys().filter(|word| word.len().abs_diff(snake.len()) <= far);
    // For two keys at the same distance, always picks the same one.
    let nearest = near.map(|word| (strsim::osa_distance(&snake, word), *word)).min();
    nearest.filter(|(distance, _)| *distance <= far).map(|(_, word)| word)
}

fn snake_case(key: &str) -> String {
    let mut snake = String::with_capacity(key.len() + 4);
    for c in key.chars() {
        if c.is_uppercase() && !snake.is_empty() && !snake.ends_with('_') {
            snake.push('_');
        }
        snake.extend(if c == '-' { '_' } else { c }.to_lowercase());
    }
    snake
}
