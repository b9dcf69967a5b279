//! A config while it is changed, with a list of what was.

use serde::Serialize;

use crate::lora::Dialect;
use crate::lora::read::Format;
use crate::lora::secret::{self, is_secret};
use crate::lora::tree::{Entry, Node, Value};
use crate::yaml::Mark;

/// The longest value that a change shows, in characters.
const SHOWN: usize = 100;

/// A key that has another value than in the team's config.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The key, with dots from the outer maps on.
    pub key: String,
    /// Its value there, without secrets; none if the key is not there.
    pub from: Option<String>,
    /// Its value now; none if the key is gone.
    pub to: Option<String>,
}

impl Change {
    /// The change as one of a file that a key names.
    pub(super) fn within(self, key: &str) -> Self {
        Self { key: format!("{key}: {}", self.key), ..self }
    }
}

/// A config that can be changed.
pub(super) struct Draft {
    root: Node,
    /// Whether the tables of the root count as one map, as sd-scripts has it.
    flat: bool,
    log: Log,
}

/// What was changed, in the way in which the file's format writes values.
struct Log {
    format: Format,
    changes: Vec<Change>,
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
        if from != to {
            let key = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
            self.changes.push(Change { key, from, to });
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

    /// The root map.
    pub(super) fn root(&mut self) -> Part<'_> {
        let Self { root, flat, log } = self;
        Part { path: String::new(), node: root, flat: *flat, log }
    }

    /// Calls `edit` with every map at a path of keys with dots. Lists on the way add nothing to it.
    pub(super) fn each(&mut self, path: &str, mut edit: impl FnMut(&mut Part<'_>)) {
        let Self { root, log, .. } = self;
        let keys: Vec<&str> = path.split('.').collect();
        visit(root, path, &keys, log, &mut edit);
    }

    /// Takes out what looks like a secret, wherever it is.
    pub(super) fn remove_secrets(&mut self) {
        let Self { root, log, .. } = self;
        sweep(root, "", log);
    }

    /// The text of the file, and what is different in it.
    pub(super) fn finish(self) -> (String, Vec<Change>) {
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

/// A map of the config.
pub(super) struct Part<'a> {
    path: String,
    node: &'a mut Node,
    flat: bool,
    log: &'a mut Log,
}

/// Where an entry is: in a table below the map, or in the map itself, and at which place of it.
type Slot = (Option<usize>, usize);

impl Part<'_> {
    /// The entries of this key, in the order of the text. Where tables count as one map, there may be several.
    fn slots(&self, key: &str) -> Vec<Slot> {
        let is_table = |entry: &Entry| self.flat && matches!(entry.node.value, Value::Map(_));
        let mut slots = Vec::new();
        for (place, entry) in self.node.entries().iter().enumerate() {
            if is_table(entry) {
                let below = entry.node.entries().iter().enumerate().filter(|(_, entry)| entry.name() == key);
                slots.extend(below.map(|(at, _)| (Some(place), at)));
            } else if entry.name() == key {
                slots.push((None, place));
            }
        }
        slots
    }

    fn entries(&mut self, table: Option<usize>) -> Option<&mut Vec<Entry>> {
        let Value::Map(own) = &mut self.node.value else { return None };
        let Some(table) = table else { return Some(own) };
        match &mut own.get_mut(table)?.node.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The value of a key; of several the last one, which is what a loader takes.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        let own = self.node.entries();
        let entry = match self.slots(key).pop()? {
            (None, at) => own.get(at)?,
            (Some(table), at) => own.get(table)?.node.entries().get(at)?,
        };
        Some(&entry.node)
    }

    /// A text that is given for a key.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Node::text).filter(|text| !text.is_empty())
    }

    /// A number that is given for a key, also as a text.
    pub(super) fn number(&self, key: &str) -> Option<f64> {
        match &self.get(key)?.value {
            Value::Number { value, .. } => Some(*value),
            Value::Text { text, .. } => text.trim().parse().ok(),
            _ => None,
        }
    }

    /// Whether a key has a value.
    pub(super) fn gives(&self, key: &str) -> bool {
        self.get(key).is_some_and(Node::is_given)
    }

    /// Whether a key has a value that Python takes for true. A text that says no, as some configs have it, is none.
    pub(super) fn is_true(&self, key: &str) -> bool {
        let says_no = |text: &str| ["false", "no", "off", "0"].contains(&text.to_lowercase().as_str());
        self.get(key).is_some_and(|node| node.is_true() && !node.text().is_some_and(says_no))
    }

    /// Gives a key this value, whatever it had.
    pub(super) fn set(&mut self, key: &str, value: impl Into<Value>) {
        let value = value.into();
        let old = self.get(key).map(|node| node.value.clone());
        if old.as_ref().is_some_and(|old| is_same(old, &value)) {
            return;
        }
        self.log.note(&self.path, key, old.as_ref(), Some(&value));
        let mut slots = self.slots(key);
        let last = slots.pop();
        self.take(slots);
        let at = self.node.at;
        match last.map(|_| self.slots(key)).and_then(|mut slots| slots.pop()) {
            Some((table, place)) => {
                if let Some(entry) = self.entries(table).and_then(|entries| entries.get_mut(place)) {
                    entry.node.value = value;
                }
            }
            None => {
                // SimpleTuner allows dashes before keys.
                let is_dashed = self.node.entries().iter().any(|entry| entry.key.starts_with("--"));
                let key = if is_dashed { format!("--{key}") } else { key.to_owned() };
                if let Some(entries) = self.entries(None) {
                    entries.push(Entry { key, at, node: Node { value, at } });
                }
            }
        }
    }

    /// Gives a key this value if it has one.
    pub(super) fn replace(&mut self, key: &str, value: impl Into<Value>) {
        if self.gives(key) {
            self.set(key, value);
        }
    }

    /// Makes a number not larger than this. A share, such as 0.1, is not one.
    pub(super) fn at_most(&mut self, key: &str, most: f64) {
        if self.number(key).is_some_and(|number| number > most) {
            self.set(key, Value::Number { value: most, whole: true });
        }
    }

    /// Makes a rank not larger than this, and its alpha smaller by the same factor, so that the strength stays.
    pub(super) fn rank(&mut self, rank: &str, alpha: &str, most: f64) {
        let Some(old) = self.number(rank).filter(|old| *old > most) else { return };
        self.at_most(rank, most);
        if let Some(alpha_was) = self.number(alpha).filter(|alpha| *alpha > 0.0) {
            let value = alpha_was * most / old;
            // Some trainers want an integer, which a fraction of one cannot be.
            let was_whole = matches!(self.get(alpha).map(|node| &node.value), Some(Value::Number { whole: true, .. }));
            let value = if was_whole { value.round().max(1.0) } else { value };
            self.set(alpha, Value::Number { value, whole: was_whole });
        }
    }

    /// Takes keys out.
    pub(super) fn remove(&mut self, keys: &[&str]) {
        for key in keys {
            if let Some(old) = self.get(key).map(|node| node.value.clone()) {
                self.log.note(&self.path, key, Some(&old), None);
                self.take(self.slots(key));
            }
        }
    }

    /// Takes out all keys that begin so.
    pub(super) fn remove_beginning(&mut self, starts: &[&str]) {
        let tables = self.node.entries().iter().filter(|_| self.flat).flat_map(|entry| entry.node.entries());
        let names = self.node.entries().iter().chain(tables).map(|entry| entry.name().to_owned());
        let named: Vec<String> = names.filter(|name| starts.iter().any(|start| name.starts_with(start))).collect();
        named.iter().for_each(|name| self.remove(&[name]));
    }

    fn take(&mut self, slots: Vec<Slot>) {
        // From the last on, so that the places of the others hold.
        for (table, place) in slots.into_iter().rev() {
            if let Some(entries) = self.entries(table).filter(|entries| place < entries.len()) {
                entries.remove(place);
            }
        }
    }
}

/// Whether two values are equal. Quotes make no difference for a text.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Text { text: one, .. }, Value::Text { text: other, .. }) => one == other,
        (one, other) => one == other,
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text { text: text.to_owned(), plain: false }
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text { text, plain: false }
    }
}

impl From<bool> for Value {
    fn from(is: bool) -> Self {
        Self::Bool(is)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number { value: number.into(), whole: true }
    }
}

impl From<Vec<Value>> for Value {
    fn from(items: Vec<Value>) -> Self {
        Self::List(items.into_iter().map(|value| Node { value, at: Mark::default() }).collect())
    }
}

impl<const N: usize> From<[(&str, Value); N]> for Value {
    fn from(entries: [(&str, Value); N]) -> Self {
        let at = Mark::default();
        let entry = |(key, value): (&str, Value)| Entry { key: key.to_owned(), at, node: Node { value, at } };
        Self::Map(entries.into_iter().map(entry).collect())
    }
}
