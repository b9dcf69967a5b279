//! A config that is being changed, with a list of the changes.

mod part;
mod values;

use crate::Dialect;
use crate::domain::ConfigChange;
use crate::read::Format;
use crate::secret::{self, is_secret};
use crate::tree::{Node, Value};

pub(super) use part::Part;

/// Maximum length of a value shown in a change, in characters.
const SHOWN: usize = 100;
/// Maximum number of changes recorded.
const MAX_CHANGES: usize = 500;

/// A config that can be changed.
pub(super) struct Draft {
    root: Node,
    /// True when the tables of the root count as one map, as in sd-scripts.
    flat: bool,
    log: Log,
}

/// The changes, with values in the notation of the file's format.
struct Log {
    format: Format,
    changes: Vec<ConfigChange>,
}

impl Log {
    fn note(&mut self, path: &str, key: &str, from: Option<&Value>, to: Option<&Value>) {
        let shown = |value: &Value| {
            let is_hidden = value_holds_secret(key, value);
            let text = if is_hidden { "[secret]".to_owned() } else { self.format.short(value) };
            match text.char_indices().nth(SHOWN) {
                Some((at, _)) => format!("{}…", &text[..at]),
                None => text,
            }
        };
        let (from, to) = (from.map(shown), to.map(shown));
        if from != to && self.changes.len() < MAX_CHANGES {
            let key = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
            self.changes.push(ConfigChange { key, from, to });
        }
    }
}

fn value_holds_secret(key: &str, value: &Value) -> bool {
    match value {
        Value::Text { text, .. } => is_secret(key, text) || secret::is_key(key),
        Value::List(items) => items.iter().any(|item| value_holds_secret(key, &item.value)),
        Value::Map(entries) => entries.iter().any(|entry| value_holds_secret(entry.name(), &entry.node.value)),
        _ => false,
    }
}

impl Draft {
    pub(super) fn new(format: Format, dialect: Dialect, root: Node) -> Self {
        let flat = dialect == Dialect::SdScripts;
        Self { root, flat, log: Log { format, changes: Vec::new() } }
    }

    /// Returns the root map.
    pub(super) fn root(&mut self) -> Part<'_> {
        let Self { root, flat, log } = self;
        Part { path: String::new(), node: root, flat: *flat, log }
    }

    /// Calls `edit` with every map at a dotted path of keys. Lists on the way add nothing to the path.
    pub(super) fn each(&mut self, path: &str, mut edit: impl FnMut(&mut Part<'_>)) {
        let Self { root, log, .. } = self;
        let keys: Vec<&str> = path.split('.').collect();
        visit(root, path, &keys, log, &mut edit);
    }

    /// Removes everything that looks like a secret.
    pub(super) fn remove_secrets(&mut self) {
        let Self { root, log, .. } = self;
        sweep(root, "", log);
    }

    /// Returns the text of the file, and the changes.
    pub(super) fn finish(self) -> (String, Vec<ConfigChange>) {
        (self.log.format.write(&self.root), self.log.changes)
    }
}

fn visit(node: &mut Node, path: &str, keys: &[&str], log: &mut Log, edit: &mut impl FnMut(&mut Part<'_>)) {
    if let Value::List(items) = &mut node.value {
        items.iter_mut().for_each(|item| visit(item, path, keys, log, edit));
        return;
    }
    match (keys, &mut node.value) {
        ([], Value::Map(_)) => edit(&mut Part { path: path.to_owned(), node, flat: false, log }),
        ([key, rest @ ..], Value::Map(entries)) => {
            let held = entries.iter_mut().filter(|entry| entry.name() == *key);
            held.for_each(|entry| visit(&mut entry.node, path, rest, log, edit));
        }
        _ => {}
    }
}

fn sweep(node: &mut Node, path: &str, log: &mut Log) {
    let secret = |key: &str, node: &Node| node.text().is_some_and(|text| is_secret(key, text) || secret::is_key(key));
    let key = path.rsplit('.').next().unwrap_or_default().to_owned();
    match &mut node.value {
        Value::Map(entries) => {
            entries.retain(|entry| {
                let is_secret = secret(entry.name(), &entry.node) && entry.node.is_given();
                if is_secret {
                    log.note(path, entry.name(), Some(&entry.node.value), None);
                }
                !is_secret
            });
            for entry in entries {
                let below = if path.is_empty() { entry.key.clone() } else { format!("{path}.{}", entry.key) };
                sweep(&mut entry.node, &below, log);
            }
        }
        Value::List(items) => {
            items.retain(|item| !secret(&key, item));
            items.iter_mut().for_each(|item| sweep(item, path, log));
        }
        _ => {}
    }
}
