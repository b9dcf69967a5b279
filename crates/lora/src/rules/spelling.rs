//! Rules on keys that a trainer does not know.

use super::values::switches::is_left_out;
use super::{Config, Map, finding};
use crate::conditions::conditions;
use crate::dialect::Unknown;
use crate::domain::{Rule, Severity, only_near};
use crate::keys::{Section, table};
use crate::tree::{Entry, Node, Value};
use crate::yaml::Mend;
use crate::{Dialect, Finding};

/// Maximum number of keys per map that are compared with the known keys.
const MAX_COMPARED: usize = 100;

/// Sections of a table with keys that the trainer knows in some files only.
const OF_SOME_FILES: [&str; 2] = ["other scripts", "megatron"];

/// Finds unknown keys. Most trainers ignore a key that they do not know, so a misspelled key means that the training
/// silently uses a default.
pub(super) fn unknown_key(config: &Config<'_>) -> Vec<Finding> {
    let of_map = |map| unknown(config, map).filter_map(move |(entry, known)| misspelling(config, map, entry, known));
    config.maps.iter().flat_map(of_map).chain(shortened(config)).collect()
}

/// Finds keys that SimpleTuner takes for longer ones, since they are the beginning of one option only.
fn shortened(config: &Config<'_>) -> Vec<Finding> {
    let of_map = |map: &Map<'_>| -> Vec<Finding> {
        let Some(known) = table(config.dialect).section(&map.path) else { return Vec::new() };
        let listed = |entry: &&&Entry| known.contains_key(entry.name());
        let others = map.entries.iter().filter(|entry| !listed(entry)).take(MAX_COMPARED);
        let told = others.filter(|entry| !is_left_out(config, map, entry)).filter_map(|entry| {
            let meant = only_longer(entry.name(), known)?;
            let key = entry.name();
            let message = format!("SimpleTuner takes the key {key} for {meant}: write it in full");
            Some(finding(Rule::UnknownKey, Severity::Warning, message, entry.at, map.path_of(key)))
        });
        told.collect()
    };
    config.maps.iter().filter(|_| config.dialect == Dialect::SimpleTuner).flat_map(of_map).collect()
}

/// Returns the only key that begins with this one.
fn only_longer<'k>(key: &str, known: &'k Section) -> Option<&'k str> {
    let mut longer = known.keys().filter(|option| option.starts_with(key));
    longer.next().filter(|_| longer.next().is_none()).map(String::as_str)
}

/// Returns true if the map has a misspelling of `key`.
pub(super) fn is_misspelled(config: &Config<'_>, map: &Map<'_>, key: &str) -> bool {
    unknown(config, map).any(|(entry, known)| meant(entry.name(), known) == Some(key))
}

fn unknown<'a>(config: &Config<'a>, map: &Map<'a>) -> impl Iterator<Item = (&'a Entry, &'static Section)> {
    let known = table(config.dialect).section(&map.path);
    let pairs = known.into_iter().flat_map(move |known| map.entries.iter().map(move |entry| (*entry, known)));
    let is_unknown = |(entry, known): &(&Entry, &Section)| !is_known(config, entry, known);
    pairs.filter(is_unknown).take(MAX_COMPARED).collect::<Vec<_>>().into_iter()
}

fn is_known(config: &Config<'_>, entry: &Entry, known: &Section) -> bool {
    let key = entry.name();
    let is_listed = known.contains_key(key) || known.contains_key("*") || is_extra(config, key);
    // Options may be shortened as long as one is meant.
    let is_short = || only_longer(key, known).is_some();
    if config.dialect != Dialect::SimpleTuner || is_listed {
        return is_listed || matches!(config.dialect, Dialect::MsSwift | Dialect::Diffusers) && is_short();
    }
    // SimpleTuner leaves out null and "false".
    let is_left_out = entry.node.value == Value::Null
        || entry.node.text().is_some_and(|text| text.trim().is_empty() || text.trim().eq_ignore_ascii_case("false"));
    is_left_out || is_short()
}

fn misspelling(config: &Config<'_>, map: &Map<'_>, entry: &Entry, known: &Section) -> Option<Finding> {
    let key = entry.name();
    let trainer = config.dialect.trainer();
    let mode = match entry.node.value {
        // SimpleTuner makes no option of a map.
        Value::Map(_) if config.dialect == Dialect::SimpleTuner => Unknown::Ignored,
        _ => config.dialect.unknown(),
    };
    let say = |rule, severity, message| Some(finding(rule, severity, message, entry.at, map.path_of(key)));
    // The tables themselves are merged into this map, so this one is inside another.
    if matches!((config.dialect, &entry.node.value), (Dialect::SdScripts | Dialect::Musubi, Value::Map(_))) {
        let message = format!("{trainer} ignores the keys of {key}, a table inside another: move them out of it");
        return say(Rule::UnknownKey, Severity::Error, message);
    }
    let plugins = map.get("plugins").filter(|_| config.dialect == Dialect::Axolotl);
    let has_foreign_plugin = plugins.is_some_and(|entry| entry.node.items().iter().any(is_foreign_plugin));
    if config.dialect == Dialect::Axolotl && map.path.is_empty() && of_a_plugin(config.dialect, key) {
        let message = format!("{trainer} ignores the key {key}, which only a plugin reads: add that to `plugins`");
        return match plugins.map(|entry| entry.node.items().len()) {
            Some(1..) => None,
            _ => say(Rule::UnknownKey, Severity::Warning, message),
        };
    }
    if let Some(meant) = meant(key, known).or_else(|| meant(key, extra_keys(config)?)) {
        let is_camel = key.contains(|c: char| c.is_uppercase()) && snake_case(key) == meant;
        let rule = if is_camel { Rule::CamelCase } else { Rule::UnknownKey };
        let severity = if mode == Unknown::Open { Severity::Warning } else { Severity::Error };
        let found = say(rule, severity, misspelled(config, map, key, meant, mode))?;
        let is_sure = mode != Unknown::Open && !has_foreign_plugin || snake_case(key) == meant;
        return Some(Finding { mend: mend(config, map, entry, known).filter(|_| is_sure), ..found });
    }
    match mode {
        Unknown::Refused => {
            let home = table(config.dialect).home_of(key).map(|home| format!(": it belongs in {home}"));
            let advice = home.unwrap_or_else(|| ": remove it".to_owned());
            say(Rule::UnknownKey, Severity::Error, format!("{trainer} stops at the key {key}, unknown here{advice}"))
        }
        Unknown::Extended => {
            let message =
                format!("{trainer} stops at the key {key}, which only a script of your own could read: remove it");
            say(Rule::UnknownKey, Severity::Warning, message)
        }
        // A plugin of the team may add its own keys.
        Unknown::Ignored if has_foreign_plugin => None,
        Unknown::Ignored => {
            let message = format!("{trainer} ignores the key {key}, which it does not know: remove it");
            say(Rule::UnknownKey, Severity::Warning, message)
        }
        Unknown::Open => None,
    }
}

/// Says what the trainer does with a misspelled key, and what it takes in place of the value.
fn misspelled(config: &Config<'_>, map: &Map<'_>, key: &str, meant: &str, mode: Unknown) -> String {
    let trainer = config.dialect.trainer();
    if matches!(mode, Unknown::Refused | Unknown::Extended) {
        return format!("{trainer} stops at the key {key}, which it does not know: did you mean {meant}?");
    }
    let default = conditions(config.dialect).absent(&map.path, meant).map(|node| &node.value);
    let effect = match default {
        _ if map.get(meant).is_some() => format!("and reads {meant}, which is given too"),
        Some(Value::Number { value, .. }) => format!("and trains with {meant} {value}, its default"),
        Some(Value::Text { text, .. }) => format!("and trains with {meant} {text}, its default"),
        _ => format!("and trains as if {meant} were not given"),
    };
    format!("{trainer} ignores the key {key} {effect}: did you mean {meant}?")
}

/// Returns the mend of a misspelled key, if only one key can be meant, which is not given yet.
fn mend(config: &Config<'_>, map: &Map<'_>, entry: &Entry, known: &Section) -> Option<Mend> {
    let key = entry.name();
    let others = OF_SOME_FILES.iter().filter_map(|section| table(config.dialect).section(section));
    let words: Vec<&str> = others.chain([known]).flat_map(Section::keys).map(String::as_str).collect();
    let stands_for = |key: &str| only_near(&snake_case(key), words.iter().copied());
    let meant = stands_for(key).filter(|meant| map.get(meant).is_none() && known.contains_key(*meant))?;
    let unknown = map.entries.iter().map(|entry| entry.name()).filter(|other| !known.contains_key(*other));
    if unknown.take(MAX_COMPARED).filter(|other| stands_for(other) == Some(meant)).count() > 1 {
        return None;
    }
    let dashes = &entry.key[..entry.key.len() - key.len()];
    Some(Mend::word(&entry.key, &format!("{dashes}{meant}")))
}

/// Returns true for a key that the trainer knows in some files only.
fn is_extra(config: &Config<'_>, key: &str) -> bool {
    extra_keys(config).is_some_and(|section| section.contains_key(key))
}

/// Returns the keys that the trainer knows in some files only: those for sd-scripts' scripts without a network, and those
/// for Megatron below LLaMA-Factory.
fn extra_keys(config: &Config<'_>) -> Option<&'static Section> {
    const MEGATRON: [&str; 4] =
        ["use_mca", "use_megatron_bridge", "tensor_model_parallel_size", "pipeline_model_parallel_size"];
    let (section, is_such): (_, fn(&Map<'_>) -> bool) = match config.dialect {
        Dialect::SdScripts => (OF_SOME_FILES[0], |map| !map.trains_network()),
        Dialect::LlamaFactory => (OF_SOME_FILES[1], |map| MEGATRON.iter().any(|key| map.get(key).is_some())),
        _ => return None,
    };
    table(config.dialect).section(section).filter(|_| config.maps_at("").all(is_such))
}

/// Returns true if one of axolotl's own plugins reads the key.
fn of_a_plugin(dialect: Dialect, key: &str) -> bool {
    table(dialect).section("plugins").is_some_and(|section| section.contains_key(key))
}

fn is_foreign_plugin(item: &Node) -> bool {
    item.text().is_none_or(|name| !name.starts_with("axolotl.integrations."))
}

/// Returns the known key that a misspelled key stands for: the same in snake case, or at most two letters away.
fn meant<'k>(key: &str, known: &'k Section) -> Option<&'k str> {
    if key.len() > 60 {
        return None;
    }
    let snake = snake_case(key);
    let far = if snake.len() < 6 { 1 } else { 2 };
    let written = letters(&snake);
    // Each letter of difference changes at most two bits, which is far cheaper to count than the distance.
    let is_near = |word: &&String| {
        word.len().abs_diff(snake.len()) <= far && (letters(word) ^ written).count_ones() as usize <= 2 * far
    };
    let near = known.keys().filter(is_near);
    // For two keys at the same distance, always picks the same one.
    let nearest = near.map(|word| (strsim::osa_distance(&snake, word), word.as_str())).min();
    nearest.filter(|(distance, _)| *distance <= far).map(|(_, word)| word)
}

/// Returns the set of letters of a word, as bits.
fn letters(word: &str) -> u64 {
    word.bytes().fold(0, |set, byte| set | 1 << (byte % 64))
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
