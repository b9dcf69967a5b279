//! Keys of different methods of training in one file: each of trl's commands refuses the keys of the others.

use super::{Config, finding};
use crate::domain::{Rule, Severity};
use crate::keys::table;
use crate::tree::Entry;
use crate::{Dialect, Finding};

/// The commands of trl. Each has a section with the keys that not all of them know.
pub(crate) const TRL_METHODS: [&str; 7] = ["sft", "dpo", "grpo", "kto", "reward", "rloo", "distillation"];

pub(super) fn mixed_methods(config: &Config<'_>) -> Vec<Finding> {
    if config.dialect != Dialect::Trl {
        return Vec::new();
    }
    config.maps_at("").flat_map(|map| of_others(&map.entries)).collect()
}

/// Finds the keys that do not belong to the method to which most keys belong.
fn of_others(entries: &[&Entry]) -> Vec<Finding> {
    let knows = |method: &str, key: &str| {
        table(Dialect::Trl).section(&format!("method {method}")).is_some_and(|section| section.contains_key(key))
    };
    let special: Vec<&Entry> =
        entries.iter().copied().filter(|entry| TRL_METHODS.iter().any(|method| knows(method, entry.name()))).collect();
    let count = |method: &str| special.iter().filter(|entry| knows(method, entry.name())).count();
    let Some(main) = TRL_METHODS.iter().rev().max_by_key(|method| count(method)) else { return Vec::new() };
    let others = special.iter().filter(|entry| !knows(main, entry.name()));
    others
        .map(|entry| {
            let key = entry.name();
            let homes: Vec<&str> = TRL_METHODS.iter().copied().filter(|method| knows(method, key)).collect();
            let message = format!(
                "{key} is a key of `trl {}`, but the others are of `trl {main}`, which refuses it: remove it",
                homes.join("`, `trl ")
            );
            finding(Rule::ConflictingKeys, Severity::Error, message, entry.at, key.to_owned())
        })
        .collect()
}
