//! Names of the modules that an adapter is put on. PEFT takes them as a list of names, or as one pattern that has to match
//! the whole name of a module; the one in place of the other matches nothing.

use super::{Config, finding};
use crate::domain::{Rule, Severity};
use crate::tree::{Node, Value};
use crate::{Dialect, Finding};

/// The keys that hold modules.
const KEYS: [(Dialect, &[&str]); 2] = [
    (Dialect::Peft, &["target_modules", "exclude_modules"]),
    (Dialect::Axolotl, &["lora_target_modules", "lora_exclude_modules"]),
];
/// Words that stand for several modules.
const SHORTHANDS: [&str; 3] = ["all-linear", "all_linear", "dummy-target-modules"];

/// Finds patterns in lists, and names or lists in place of a pattern.
pub(super) fn module_names(config: &Config<'_>) -> Vec<Finding> {
    let keys = KEYS.iter().filter(|(dialect, _)| *dialect == config.dialect).flat_map(|(_, keys)| *keys);
    let entries = keys.flat_map(|key| config.maps_at("").filter_map(|map| map.get(key)));
    entries
        .filter_map(|entry| {
            let (node, message) = fault(entry.name(), &entry.node)?;
            Some(finding(Rule::ModuleNames, Severity::Warning, message, node.at, entry.name().to_owned()))
        })
        .collect()
}

fn fault<'a>(key: &str, node: &'a Node) -> Option<(&'a Node, String)> {
    match &node.value {
        _ if node.is_template() => None,
        Value::List(items) => {
            let is_pattern = |text: &str| text.contains(['*', '^', '$', '|', '(', '+', '\\', '[']);
            let item = items.iter().find(|item| item.text().is_some_and(is_pattern))?;
            let message = format!(
                "PEFT takes the items of {key} as names, and no module is called {}: write one text, which is a pattern",
                item.text()?
            );
            Some((item, message))
        }
        Value::Text { text, .. } if text.is_empty() || SHORTHANDS.contains(&text.as_str()) => None,
        Value::Text { text, .. } if text.contains(',') && !text.contains(['(', '[', '{']) => Some((
            node,
            format!("PEFT takes {key} as one pattern, and no module is called {text}: write a list of names"),
        )),
        // A pattern has to match the whole name, which has dots: only a pattern with `.*` or the like does.
        Value::Text { text, .. } if !text.contains(['*', '+', '?', '(', '[', '|', '\\', '.', '^', '$']) => {
            let message = format!(
                "PEFT takes {key} as one pattern, which has to match the whole name of a module: write [{text}]"
            );
            Some((node, message))
        }
        _ => None,
    }
}
