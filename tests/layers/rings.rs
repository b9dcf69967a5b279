//! Rings among files that stand beside each other.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::paths;

/// The modules of a folder, each with the modules of the same folder that it names.
type Named = BTreeMap<String, BTreeSet<String>>;

/// Returns the rings among the modules of one crate, given with their code: the module that they stand in, and their
/// names. A module may name those that it stands in, and those that stand in it.
pub fn rings(modules: &[(Vec<String>, String)]) -> Vec<(String, Vec<String>)> {
    let all: BTreeSet<&[String]> = modules.iter().map(|(module, _)| module.as_slice()).collect();
    let mut folders: BTreeMap<&[String], Named> = BTreeMap::new();
    for (module, code) in modules {
        for path in paths(code, module) {
            let is_file = |length: &usize| all.contains(&path[..*length]);
            let target = &path[..(1..=path.len()).rev().find(is_file).unwrap_or(0)];
            let common = module.iter().zip(target).take_while(|(one, other)| one == other).count();
            if common < module.len() && common < target.len() {
                let named = folders.entry(&module[..common]).or_default().entry(module[common].clone()).or_default();
                named.insert(target[common].clone());
            }
        }
    }
    folders
        .into_iter()
        .flat_map(|(folder, named)| within(&named).into_iter().map(move |ring| (folder.join("::"), ring)))
        .collect()
}

/// Returns the sets of names that reach each other.
fn within(named: &Named) -> BTreeSet<Vec<String>> {
    let reached = |from: &String| {
        let mut seen = BTreeSet::new();
        let mut next = vec![from];
        while let Some(name) = next.pop() {
            next.extend(named.get(name).into_iter().flatten().filter(|name| seen.insert((*name).clone())));
        }
        seen
    };
    let all: BTreeMap<&String, BTreeSet<String>> = named.keys().map(|name| (name, reached(name))).collect();
    let ring = |(name, reached): (&&String, &BTreeSet<String>)| -> Vec<String> {
        let reaches_back = |other: &&String| all.get(other).is_some_and(|back| back.contains(*name));
        reached.iter().filter(reaches_back).cloned().collect()
    };
    all.iter().map(ring).filter(|ring| ring.len() > 1).collect()
}
