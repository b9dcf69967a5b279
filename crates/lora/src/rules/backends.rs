//! The data sets of SimpleTuner's data loader among each other: names of other data sets, folders that two of them share,
//! and the start of the training. As in bghira/SimpleTuner at bc8e6ab: `helpers/data_backend/factory.py`.

use std::collections::BTreeSet;

use super::{Config, Map, finding};
use crate::domain::{Rule, Severity};
use crate::tree::{Node, Value};
use crate::{Dialect, Finding};

/// Keys that name other data sets, with the type that those must have.
const NAMES: [(&str, &str); 6] = [
    ("conditioning_data", "conditioning"),
    ("s2v_datasets", "audio"),
    ("text_embeds", "text_embeds"),
    ("text_embed_cache", "text_embeds"),
    ("image_embeds", "image_embeds"),
    ("conditioning_image_embeds", "conditioning_image_embeds"),
];
/// Keys for which SimpleTuner makes data sets of its own, with names that the file does not have.
const MAKERS: [&str; 3] = ["conditioning", "audio", "grounding"];

/// Returns true for a data set that is switched off, which SimpleTuner does not look at.
pub(super) fn is_off(config: &Config<'_>, map: &Map<'_>) -> bool {
    config.dialect == Dialect::SimpleTunerDataset && (map.is_true("disabled") || map.is_true("disable"))
}

/// Finds data sets that do not fit each other.
pub(super) fn data_sets(config: &Config<'_>) -> Vec<Finding> {
    if config.dialect != Dialect::SimpleTunerDataset {
        return Vec::new();
    }
    let sets: Vec<&Map<'_>> = config.maps_at("").filter(|map| !is_off(config, map)).collect();
    let mut findings = unknown_names(&sets);
    findings.extend(shared_folders(&sets));
    findings.extend(sets.iter().filter_map(|set| wrong_bucket(set)));
    findings.extend(late_start(&sets));
    findings
}

fn unknown_names(sets: &[&Map<'_>]) -> Vec<Finding> {
    let makes_more = sets.iter().any(|set| MAKERS.iter().any(|key| set.get(key).is_some()));
    let of_set = |set: &Map<'_>| -> Vec<Finding> {
        let named = NAMES.iter().filter(|(_, wanted)| !makes_more || wanted.ends_with("embeds"));
        let wrong = named.filter_map(|(key, wanted)| {
            let entry = set.get(key)?;
            let names = std::iter::once(&entry.node).chain(entry.node.items()).filter_map(Node::text);
            let is_known = |name: &str| {
                sets.iter().any(|other| other.text("id") == Some(name) && other.text("dataset_type") == Some(wanted))
            };
            let name = names.filter(|name| !name.is_empty()).find(|name| !is_known(name))?;
            let name: String = name.chars().take(80).collect();
            let message =
                format!("SimpleTuner stops, because no data set of type {wanted} has the id {name}: add or correct it");
            Some(finding(Rule::Refused, Severity::Error, message, entry.node.at, set.path_of(key)))
        });
        wrong.collect()
    };
    sets.iter().flat_map(|set| of_set(set)).collect()
}

fn shared_folders(sets: &[&Map<'_>]) -> Vec<Finding> {
    let mut known = BTreeSet::new();
    let mut findings = Vec::new();
    for set in sets {
        let Some((entry, folder)) = set.get("cache_dir_vae").zip(set.text("cache_dir_vae")) else { continue };
        // A placeholder may stand for another folder in each data set.
        if !known.insert(folder) && !folder.contains('{') {
            let message =
                "SimpleTuner stops, because two data sets have this cache_dir_vae: give each its own".to_owned();
            findings.push(finding(Rule::Refused, Severity::Error, message, entry.node.at, "cache_dir_vae".to_owned()));
        }
    }
    findings
}

/// Finds an aspect to crop to that is neither a number nor a map with its weight.
fn wrong_bucket(set: &Map<'_>) -> Option<Finding> {
    let key = "crop_aspect_buckets";
    let is_right = |node: &&Node| matches!(node.value, Value::Number { .. } | Value::Map(_));
    let wrong = set.get(key)?.node.items().iter().find(|node| !is_right(node))?;
    let is_used = matches!(set.text("crop_aspect"), Some("random" | "closest"));
    let message = "SimpleTuner stops at an item of crop_aspect_buckets that is no number: remove the quotes".to_owned();
    is_used.then(|| finding(Rule::WrongType, Severity::Error, message, wrong.at, key.to_owned()))
}

/// Finds that no data set is in use when the training starts.
fn late_start(sets: &[&Map<'_>]) -> Option<Finding> {
    let other = ["eval", "caption", "grounding", "text_embeds", "image_embeds", "conditioning_image_embeds"];
    let is_trained = |set: &&&Map<'_>| {
        set.text("dataset_type").is_none_or(|kind| !other.contains(&kind) && kind != "distillation_cache")
    };
    let trained: Vec<&&Map<'_>> = sets.iter().filter(is_trained).collect();
    let late =
        |set: &Map<'_>| ["start_epoch", "start_step"].into_iter().find(|key| set.number(key).is_some_and(|n| n > 1.0));
    let first = trained.first()?;
    let key = late(first).filter(|_| trained.iter().all(|set| late(set).is_some()))?;
    let message =
        format!("SimpleTuner stops, because no data set starts with the training: set {key} to 1 in one of them");
    Some(finding(Rule::Refused, Severity::Error, message, first.get(key)?.node.at, key.to_owned()))
}
