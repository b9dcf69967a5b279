//! The variables of a file as they are written, by the place that they stand in.

use std::collections::HashSet;

use crate::travis::traps::commands::included;
use crate::yaml::{Data, Mark, Node};

/// The place of some variables. It decides which of them one job gets together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// `env: global:`.
    Global,
    /// The list at the root, whose items belong to one job each.
    Jobs,
    /// A job in `jobs.include`.
    Included,
}

/// The variables at one place.
pub(super) struct Group<'a> {
    pub(super) place: Place,
    pub(super) items: Vec<Item<'a>>,
}

/// An item of `env`, without what is encrypted.
pub(super) struct Item<'a> {
    pub(super) form: Form<'a>,
    pub(super) at: Mark,
    /// Start of the list that the item is written in; its own place without a list.
    pub(super) list: Mark,
}

pub(super) enum Form<'a> {
    /// A text such as `A=1 B=2`.
    Text(&'a str),
    /// A key and its value.
    Entry(&'a str, &'a str),
}

/// Returns the variables at the root and in `jobs.include`, each place once, since aliases repeat them.
pub(super) fn written(root: &Node) -> Vec<Group<'_>> {
    let mut groups = Vec::new();
    let mut seen = HashSet::new();
    if let Some(env) = root.get("env") {
        let split = ["global", "jobs", "matrix"].iter().any(|key| env.value.get(key).is_some());
        let parts = env.value.entries().iter().filter(|_| split).map(|entry| {
            let place = if entry.key == "global" { Place::Global } else { Place::Jobs };
            (place, &entry.value)
        });
        let whole = (!split).then_some((Place::Jobs, &env.value));
        groups.extend(parts.chain(whole).map(|(place, node)| group(place, node, &mut seen)));
    }
    let jobs = included(root).filter_map(|job| job.get("env"));
    groups.extend(jobs.map(|env| group(Place::Included, &env.value, &mut seen)));
    groups
}

fn group<'a>(place: Place, node: &'a Node, seen: &mut HashSet<Mark>) -> Group<'a> {
    let mut items = Vec::new();
    collect(node, node.at, &mut items, seen);
    Group { place, items }
}

fn collect<'a>(node: &'a Node, list: Mark, items: &mut Vec<Item<'a>>, seen: &mut HashSet<Mark>) {
    match &node.data {
        _ if node.is_null() => {}
        Data::Seq(nodes) => nodes.iter().for_each(|item| collect(item, node.at, items, seen)),
        Data::Map(entries) => {
            for entry in entries.iter().filter(|entry| entry.key != "secure") {
                if let Some(text) = entry.value.text()
                    && seen.insert(entry.value.at)
                {
                    items.push(Item { form: Form::Entry(&entry.key, text), at: entry.value.at, list });
                }
            }
        }
        Data::Scalar { text, .. } => {
            if seen.insert(node.at) {
                items.push(Item { form: Form::Text(text), at: node.at, list });
            }
        }
        Data::Unresolved => {}
    }
}
