//! The commands of a file, with their places.

use std::collections::HashSet;

use crate::domain::PHASES;
use crate::yaml::{Mark, Node};

/// Maximum length of a command that is checked: programs of that length are not written into a `.travis.yml`.
pub(super) const MAX_BYTES: usize = 50_000;

/// An item of a phase, which bash evaluates separately.
pub(super) struct Command<'a> {
    pub(super) phase: &'a str,
    pub(super) text: &'a str,
    pub(super) at: Mark,
}

/// Returns the commands at the root and in `jobs.include`, each place once: an alias repeats commands that were already
/// checked.
pub(super) fn of_file(root: &Node) -> Vec<Command<'_>> {
    let mut commands = Vec::new();
    let mut seen = HashSet::new();
    for map in std::iter::once(root).chain(included(root)) {
        for entry in map.entries().iter().filter(|entry| PHASES.contains(&entry.key.as_str())) {
            collect(&entry.key, &entry.value, &mut commands, &mut seen);
        }
    }
    commands
}

/// Returns the maps that hold what is different in single jobs.
pub(super) fn included(root: &Node) -> impl Iterator<Item = &Node> {
    let jobs = ["jobs", "matrix"].into_iter().filter_map(|key| root.get(key)).map(|entry| &entry.value);
    jobs.flat_map(|jobs| {
        let include = jobs.get("include").map_or(jobs, |entry| &entry.value);
        include.items()
    })
}

fn collect<'a>(phase: &'a str, node: &'a Node, commands: &mut Vec<Command<'a>>, seen: &mut HashSet<Mark>) {
    match node.text() {
        Some(text) if text.len() <= MAX_BYTES && seen.insert(node.at) => {
            commands.push(Command { phase, text, at: node.at })
        }
        Some(_) => {}
        None => node.items().iter().for_each(|item| collect(phase, item, commands, seen)),
    }
}
