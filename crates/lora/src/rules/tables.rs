//! The tables of the arguments of sd-scripts and musubi-tuner: the scripts merge their keys into one map.

use std::collections::HashMap;

use super::{Config, Map, finding};
use crate::domain::{Rule, Severity};
use crate::tree::Entry;
use crate::{Dialect, Finding};

/// Finds keys that two tables have with different values.
pub(super) fn merged_tables(config: &Config<'_>) -> Vec<Finding> {
    if !matches!(config.dialect, Dialect::SdScripts | Dialect::Musubi) {
        return Vec::new();
    }
    config.maps_at("").flat_map(|map| repeated(config, map)).collect()
}

fn repeated(config: &Config<'_>, map: &Map<'_>) -> Vec<Finding> {
    let trainer = config.dialect.trainer();
    let mut known: HashMap<&str, &Entry> = HashMap::new();
    let mut findings = Vec::new();
    for entry in &map.entries {
        let before = known.insert(entry.key.as_str(), entry);
        let Some(first) = before.filter(|first| first.node.value != entry.node.value) else { continue };
        let message = format!(
            "{trainer} takes this {} and not that of line {}, since the tables are one map: remove one of them",
            entry.key, first.at.line
        );
        findings.push(finding(Rule::DuplicateKey, Severity::Warning, message, entry.at, entry.key.clone()));
    }
    findings
}
