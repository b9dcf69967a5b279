//! Merge of two documents into one.

use std::collections::{HashMap, HashSet};

use crate::yaml::{Data, Entry, Node};

/// The way in which a key that both files have is merged. The importing file wins in every mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Maps are merged at every depth, and the importing file's lists follow the imported ones.
    DeepMergeAppend,
    /// Maps are merged at every depth, and the importing file's lists precede the imported ones.
    DeepMergePrepend,
    /// Maps are merged at every depth, but lists are not.
    DeepMerge,
    /// Whole keys of the root are taken over.
    Merge,
    /// Nothing is taken over.
    Replace,
}

impl Mode {
    /// Returns the mode of this name. An unknown name, which the normal form reports, stands for the usual mode.
    pub fn named(name: Option<&str>) -> Self {
        match name {
            Some("deep_merge_prepend") => Self::DeepMergePrepend,
            Some("deep_merge") => Self::DeepMerge,
            Some("merge") => Self::Merge,
            Some("replace") => Self::Replace,
            _ => Self::DeepMergeAppend,
        }
    }
}

/// Merges the map `imported` into the map `own`.
pub fn merge(mode: Mode, own: Node, imported: Node) -> Node {
    let (at, anchored) = (own.at, own.anchored);
    let data = match (own.data, imported.data) {
        (Data::Map(own), Data::Map(imported)) if mode != Mode::Replace => Data::Map(entries(mode, own, imported)),
        (own, _) => own,
    };
    Node::new(data, at, anchored)
}

fn entries(mode: Mode, own: Vec<Entry>, imported: Vec<Entry>) -> Vec<Entry> {
    let given: HashSet<String> = own.iter().map(|entry| entry.key.clone()).collect();
    let (both, added): (Vec<Entry>, Vec<Entry>) = imported.into_iter().partition(|entry| given.contains(&entry.key));
    let mut both: HashMap<String, Node> = both.into_iter().map(|entry| (entry.key, entry.value)).collect();
    let own = own.into_iter().map(|entry| match both.remove(&entry.key) {
        Some(imported) if mode != Mode::Merge => Entry { value: value(mode, entry.value, imported), ..entry },
        _ => entry,
    });
    own.chain(added).collect()
}

fn value(mode: Mode, own: Node, imported: Node) -> Node {
    let (at, anchored) = (own.at, own.anchored);
    let data = match (mode, own.data, imported.data) {
        (_, Data::Map(own), Data::Map(imported)) => Data::Map(entries(mode, own, imported)),
        (Mode::DeepMergeAppend, Data::Seq(own), Data::Seq(imported)) => Data::Seq([imported, own].concat()),
        (Mode::DeepMergePrepend, Data::Seq(own), Data::Seq(imported)) => Data::Seq([own, imported].concat()),
        (_, own, _) => own,
    };
    Node::new(data, at, anchored)
}
