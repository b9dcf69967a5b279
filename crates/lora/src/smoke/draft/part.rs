//! Operations on a map of a config that record each change.

use super::Log;
use crate::tree::{Entry, Node, Value};

pub(in crate::smoke) struct Part<'a> {
    pub(super) path: String,
    pub(super) node: &'a mut Node,
    /// True when the tables directly below count as one map with it.
    pub(super) flat: bool,
    pub(super) log: &'a mut Log,
}

/// The position of an entry: the index of the table below the map, or `None` for the map itself, and the index in it.
type Slot = (Option<usize>, usize);

impl Part<'_> {
    /// Returns the positions of this key, in the order of the text. Where tables count as one map, there may be
    /// several.
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

    /// Returns the value of a key; of several the last one, which a loader uses.
    pub(in crate::smoke) fn get(&self, key: &str) -> Option<&Node> {
        let own = self.node.entries();
        let entry = match self.slots(key).pop()? {
            (None, at) => own.get(at)?,
            (Some(table), at) => own.get(table)?.node.entries().get(at)?,
        };
        Some(&entry.node)
    }

    /// Returns the non-empty string that a key holds.
    pub(in crate::smoke) fn text(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Node::text).filter(|text| !text.is_empty())
    }

    /// Returns the number that a key holds, also if it is written as a string.
    pub(in crate::smoke) fn number(&self, key: &str) -> Option<f64> {
        match &self.get(key)?.value {
            Value::Number { value, .. } => Some(*value),
            Value::Text { text, .. } => text.trim().parse().ok(),
            _ => None,
        }
    }

    /// Returns true if a key has a value.
    pub(in crate::smoke) fn gives(&self, key: &str) -> bool {
        self.get(key).is_some_and(Node::is_given)
    }

    /// Returns true if a key has a value that Python treats as true. A string for "no", as some configs have it, counts
    /// as false.
    pub(in crate::smoke) fn is_true(&self, key: &str) -> bool {
        let says_no = |text: &str| ["false", "no", "off", "0"].contains(&text.to_lowercase().as_str());
        self.get(key).is_some_and(|node| node.is_true() && !node.text().is_some_and(says_no))
    }

    /// Sets a key to this value, whether it had one or not.
    pub(in crate::smoke) fn set(&mut self, key: &str, value: impl Into<Value>) {
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

    /// Sets a key to this value if it already has a value.
    pub(in crate::smoke) fn replace(&mut self, key: &str, value: impl Into<Value>) {
        if self.gives(key) {
            self.set(key, value);
        }
    }

    /// Limits a number to `most`. A fraction such as 0.1 stays as it is.
    pub(in crate::smoke) fn at_most(&mut self, key: &str, most: f64) {
        if self.number(key).is_some_and(|number| number > most) {
            self.set(key, Value::Number { value: most, whole: true });
        }
    }

    /// Limits a rank to `most`, and reduces its alpha by the same factor, so that the strength stays the same.
    pub(in crate::smoke) fn rank(&mut self, rank: &str, alpha: &str, most: f64) {
        let Some(old) = self.number(rank).filter(|old| *old > most) else { return };
        self.at_most(rank, most);
        if let Some(alpha_was) = self.number(alpha).filter(|alpha| *alpha > 0.0) {
            let value = alpha_was * most / old;
            // Some trainers require an integer, so a fraction is rounded.
            let was_whole = matches!(self.get(alpha).map(|node| &node.value), Some(Value::Number { whole: true, .. }));
            let value = if was_whole { value.round().max(1.0) } else { value };
            self.set(alpha, Value::Number { value, whole: was_whole });
        }
    }

    /// Removes keys.
    pub(in crate::smoke) fn remove(&mut self, keys: &[&str]) {
        for key in keys {
            if let Some(old) = self.get(key).map(|node| node.value.clone()) {
                self.log.note(&self.path, key, Some(&old), None);
                self.take(self.slots(key));
            }
        }
    }

    /// Removes all keys that begin with one of these.
    pub(in crate::smoke) fn remove_beginning(&mut self, starts: &[&str]) {
        let Self { path, node, flat, log } = self;
        let Value::Map(own) = &mut node.value else { return };
        let mut stays = |entry: &mut Entry| {
            let goes = starts.iter().any(|start| entry.name().starts_with(start));
            if goes {
                log.note(path, entry.name(), Some(&entry.node.value), None);
            }
            !goes
        };
        own.retain_mut(|entry| match &mut entry.node.value {
            Value::Map(below) if *flat => {
                below.retain_mut(&mut stays);
                true
            }
            _ => stays(entry),
        });
    }

    fn take(&mut self, slots: Vec<Slot>) {
        // The last entry is removed first, so that the indices of the others stay valid.
        for (table, place) in slots.into_iter().rev() {
            if let Some(entries) = self.entries(table).filter(|entries| place < entries.len()) {
                entries.remove(place);
            }
        }
    }
}

/// Returns true if two values are equal. Quotes make no difference for a string.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Text { text: one, .. }, Value::Text { text: other, .. }) => one == other,
        (one, other) => one == other,
    }
}
