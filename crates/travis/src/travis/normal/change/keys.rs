//! Keys of a map, in the table's spelling.

use super::scalars;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

use serde_json::json;

use super::Changer;
use crate::domain::only_near;
use crate::travis::normal::message::{Code, Level};
use crate::travis::normal::repair::{nearest, underscored};
use crate::travis::normal::value::{Pair, Value};
use crate::travis::schema::Schema;
use crate::yaml::Mark;

/// Reports values that several maps of a list have under a key that should distinguish them.
pub(in crate::travis::normal) fn report_duplicates(changer: &mut Changer, item: &Schema, items: &[Value]) {
    for (key, _) in item.keys().iter().filter(|(_, known)| known.traits.flags.iter().any(|flag| flag == "unique")) {
        let mut seen = HashSet::new();
        let mut twice: Vec<(String, Mark)> = Vec::new();
        for value in items.iter().filter_map(|item| item.get(key)) {
            let Some(text) = value.text() else { continue };
            if !seen.insert(text.clone()) && !twice.iter().any(|(known, _)| *known == text) {
                twice.push((text, value.at));
            }
        }
        if let Some((_, at)) = twice.first().cloned() {
            let texts: Vec<String> = twice.into_iter().map(|(text, _)| text).collect();
            let values = format!("{key}: {}", texts.join(", "));
            changer.report(Level::Info, Code::Duplicate, json!({"values": values}), at);
        }
    }
}

/// Renames the keys that are other spellings of known ones. If two spellings lead to the same key, the last one is
/// kept.
pub(in crate::travis::normal) fn mend_keys(changer: &mut Changer, schema: &Schema, pairs: Vec<Pair>) -> Vec<Pair> {
    let mut mended: Vec<Pair> = Vec::with_capacity(pairs.len());
    // Keys that win over their other spelling, wherever that one is: Travis renames after reading.
    let mut winners: Vec<String> = Vec::new();
    let given: HashSet<String> = pairs.iter().map(|pair| pair.key.clone()).collect();
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut renames: HashMap<String, Range<usize>> = HashMap::new();
    for mut pair in pairs {
        let original = pair.key.clone();
        let reported = changer.messages.len();
        let overwrites = mend_key(changer, schema, &given, &mut pair);
        let own = reported..changer.messages.len();
        // Of two keys that stand for a third one, neither is surely meant: both could not be written.
        if let Some(earlier) = renames.insert(pair.key.clone(), own.clone()) {
            earlier.chain(own).for_each(|place| changer.messages[place].sure = false);
        }
        if overwrites {
            changer.report(Level::Error, Code::Overwrite, json!({"key": original, "other": pair.key}), pair.at);
            winners.push(pair.key.clone());
        }
        if !overwrites && places.contains_key(&pair.key) && !winners.contains(&pair.key) {
            report_second_spelling(changer, &pair);
        }
        match places.get(&pair.key) {
            Some(&place) if overwrites || !winners.contains(&pair.key) => mended[place] = pair,
            Some(_) => {}
            None => {
                places.insert(pair.key.clone(), mended.len());
                mended.push(pair);
            }
        }
    }
    mended
}

/// Reports a key that an earlier one was mended into; Travis says nothing of it. The reader of the file may have reported
/// the key already.
fn report_second_spelling(changer: &mut Changer, pair: &Pair) {
    let known = changer.messages.iter().any(|message| message.code == Code::DuplicateKey && message.at == pair.at);
    if !known {
        changer.report(Level::Error, Code::DuplicateKey, json!({"key": pair.key}), pair.at);
    }
}

fn mend_key(changer: &mut Changer, schema: &Schema, given: &HashSet<String>, pair: &mut Pair) -> bool {
    if schema.key(&pair.key).is_some() {
        return false;
    }
    if !scalars::may_mend(changer) {
        return false;
    }
    let original = pair.key.clone();
    // An alias may be written with dashes, too.
    if let Some(name) = schema.key_of_alias(&original).or_else(|| schema.key_of_alias(&original.replace('-', "_"))) {
        let overwrites = given.contains(name);
        let args = json!({"alias": original, "key": name});
        changer.report_key(Level::Info, Code::AliasKey, args, pair.at, !overwrites);
        pair.key = name.to_owned();
        return overwrites;
    }
    if !changer.options.fix {
        return false;
    }
    let stripped = original.trim().trim_matches(|c: char| c == ':' || c.is_whitespace()).to_owned();
    let under = underscored(&stripped);
    let clean: String = under.chars().filter(|c| c.is_alphanumeric() || *c == '_').collect();
    let known = |word: &str| schema.key(word).is_some() || schema.key_of_alias(word).is_some();
    let repairs = [
        (stripped, Code::StripKey, Level::Warn),
        (under.clone(), Code::UnderscoreKey, Level::Info),
        (clean, Code::CleanKey, Level::Warn),
    ];
    for (word, code, level) in repairs {
        if word != original && known(&word) {
            let is_sure = !given.contains(&word);
            changer.report_key(level, code, json!({"original": original, "key": word}), pair.at, is_sure);
            pair.key = word;
            rename_alias(changer, schema, pair);
            return false;
        }
    }
    if pair.value.anchored || original.starts_with('_') || !scalars::may_repair(changer) {
        return false;
    }
    // A key that is present under its correct name is not meant by another one, and keys with anchors are not
    // typos.
    let candidates: Vec<String> = schema
        .keys()
        .iter()
        .filter(|(key, _)| !given.contains(key.as_str()))
        .flat_map(|(key, value)| spellings(key, value))
        .collect();
    if let Some(word) = nearest(&under, candidates.iter().map(String::as_str)) {
        let args = json!({"original": original, "key": word});
        let is_sure = only_near(&under, candidates.iter().map(String::as_str)) == Some(word);
        changer.report_key(Level::Warn, Code::FindKey, args, pair.at, is_sure);
        pair.key = word.to_owned();
        rename_alias(changer, schema, pair);
    }
    false
}

fn rename_alias(changer: &mut Changer, schema: &Schema, pair: &mut Pair) {
    if schema.key(&pair.key).is_none()
        && let Some(name) = schema.key_of_alias(&pair.key)
    {
        let args = json!({"alias": pair.key, "key": name});
        changer.report_in_map(Level::Info, Code::AliasKey, args, pair.at);
        pair.key = name.to_owned();
    }
}

fn spellings(key: &str, value: &Schema) -> Vec<String> {
    std::iter::once(key).chain(value.aliases()).map(str::to_owned).collect()
}
