//! The keys of a map, spelled as the table has them.

use std::collections::{HashMap, HashSet};

use serde_json::json;

use super::change::Changer;
use super::message::{Code, Level};
use super::repair::{nearest, underscored};
use super::value::Pair;
use crate::travis::schema::Schema;

impl Changer {
    /// Renames the keys that are other spellings of known ones. A key that two spellings lead to keeps the last.
    pub(super) fn mend_keys(&mut self, schema: &Schema, pairs: Vec<Pair>) -> Vec<Pair> {
        let mut mended: Vec<Pair> = Vec::with_capacity(pairs.len());
        // The keys that win over their other spelling, wherever that stands: Travis renames after reading.
        let mut winners: Vec<String> = Vec::new();
        let given: HashSet<String> = pairs.iter().map(|pair| pair.key.clone()).collect();
        let mut places: HashMap<String, usize> = HashMap::new();
        for mut pair in pairs {
            let original = pair.key.clone();
            let overwrites = self.mend_key(schema, &given, &mut pair);
            if overwrites {
                self.say(Level::Error, Code::Overwrite, json!({"key": original, "other": pair.key}), pair.at);
                winners.push(pair.key.clone());
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

    fn mend_key(&mut self, schema: &Schema, given: &HashSet<String>, pair: &mut Pair) -> bool {
        if schema.key(&pair.key).is_some() {
            return false;
        }
        let original = pair.key.clone();
        // An alias may be written with dashes, too.
        if let Some(name) = alias(schema, &original).or_else(|| alias(schema, &original.replace('-', "_"))) {
            let overwrites = given.contains(name);
            let args = json!({"alias": original, "key": name});
            self.say_in_map(Level::Info, Code::AliasKey, args, pair.at);
            pair.key = name.to_owned();
            return overwrites;
        }
        if !self.options.fix {
            return false;
        }
        let stripped = original.trim().trim_matches(|c: char| c == ':' || c.is_whitespace()).to_owned();
        let under = underscored(&stripped);
        let clean: String = under.chars().filter(|c| c.is_alphanumeric() || *c == '_').collect();
        let known = |word: &str| schema.key(word).is_some() || alias(schema, word).is_some();
        let repairs = [
            (stripped, Code::StripKey, Level::Warn),
            (under.clone(), Code::UnderscoreKey, Level::Info),
            (clean, Code::CleanKey, Level::Warn),
        ];
        for (word, code, level) in repairs {
            if word != original && known(&word) {
                self.say_in_map(level, code, json!({"original": original, "key": word}), pair.at);
                pair.key = word;
                self.rename_alias(schema, pair);
                return false;
            }
        }
        if pair.value.anchored || original.starts_with('_') || !self.may_repair() {
            return false;
        }
        // A key that is there under its right name is not meant by another one; anchors' homes are no typos.
        let candidates: Vec<String> = schema
            .keys()
            .iter()
            .filter(|(key, _)| !given.contains(key.as_str()))
            .flat_map(|(key, value)| spellings(key, value))
            .collect();
        if let Some(word) = nearest(&under, candidates.iter().map(String::as_str)) {
            let args = json!({"original": original, "key": word});
            self.say_in_map(Level::Warn, Code::FindKey, args, pair.at);
            pair.key = word.to_owned();
            self.rename_alias(schema, pair);
        }
        false
    }

    fn rename_alias(&mut self, schema: &Schema, pair: &mut Pair) {
        if schema.key(&pair.key).is_none()
            && let Some(name) = alias(schema, &pair.key)
        {
            self.say_in_map(Level::Info, Code::AliasKey, json!({"alias": pair.key, "key": name}), pair.at);
            pair.key = name.to_owned();
        }
    }
}

fn spellings(key: &str, value: &Schema) -> Vec<String> {
    std::iter::once(key).chain(value.aliases()).map(str::to_owned).collect()
}

fn alias<'a>(schema: &'a Schema, word: &str) -> Option<&'a str> {
    let key = schema.keys().iter().find(|(_, value)| value.aliases().any(|alias| alias == word));
    key.map(|(name, _)| name.as_str())
}
