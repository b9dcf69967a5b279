//! Conditions over several keys: keys that exclude each other, keys that need others, values that only go together.

use super::values::switches::is_left_out;
use super::{Config, Map, backends, finding};
use crate::Finding;
use crate::conditions::{Condition, Conditions, conditions};
use crate::domain::{Rule, Severity};
use crate::keys::{Pin, Release};
use crate::tree::{Entry, Node};

/// Finds conditions under which the trainer stops, or trains something else than was meant. The problem is reported at
/// the last of the keys.
pub(super) fn met_conditions(config: &Config<'_>) -> Vec<Finding> {
    let known = conditions(config.dialect);
    let of_maps = |condition: &'static Condition| {
        config.maps_at(&condition.within).filter_map(move |map| met(config, known, condition, map))
    };
    known.all.iter().flat_map(of_maps).collect()
}

fn met(config: &Config<'_>, known: &Conditions, condition: &'static Condition, map: &Map<'_>) -> Option<Finding> {
    let values = |key: &str| -> Vec<&Node> {
        let mut found = entries(config, map, key);
        found.retain(|entry| key.contains('/') || !is_left_out(config, map, entry));
        let given = !found.is_empty();
        let absent = known.absent(&map.path, key).filter(|_| !given).into_iter().chain(absent_in_maps(known, map, key));
        found.into_iter().map(|entry| &entry.node).chain(absent).collect()
    };
    if condition.needs.iter().any(|key| map.get(key).is_none())
        || backends::is_off(config, map)
        || !condition.when.holds(&values)
    {
        return None;
    }
    let keys = condition.when.keys();
    if keys.iter().any(|key| may_differ(config, map, key)) {
        return None;
    }
    let severity = of_release(config, condition)?;
    let causes = condition.when.causes(&values);
    let own = causes.iter().filter(|key| !key.contains('/')).copied();
    let given: Vec<(&str, &Entry)> =
        own.flat_map(|key| entries(config, map, key).into_iter().map(move |entry| (key, entry))).collect();
    let is_pair = given.iter().any(|(key, _)| *key != keys[0]);
    let rule = if is_pair { Rule::ConflictingKeys } else { Rule::Refused };
    let last = given.into_iter().max_by_key(|(_, entry)| entry.at);
    let (key, at) = last.map_or((keys[0], map.at), |(key, entry)| (key, entry.at));
    Some(finding(rule, severity, condition.message.clone(), at, map.path_of(key)))
}

/// Returns the severity of a condition for the releases that the repository allows: nothing where the condition does not
/// hold for them, and a warning where it holds for some older ones only.
fn of_release(config: &Config<'_>, condition: &Condition) -> Option<Severity> {
    let pin = |release: &Release| {
        let package = release.package.as_deref().or(config.dialect.package())?;
        Pin::of(config.repository, package)
    };
    if condition.since.as_ref().is_some_and(|since| pin(since).is_some_and(|pin| pin.is_before(since.version))) {
        return None;
    }
    let Some(until) = &condition.until else { return Some(condition.severity) };
    match pin(until) {
        Some(pin) if pin.is_from(until.version) => None,
        Some(pin) if pin.is_before(until.version) => Some(condition.severity),
        _ => Some(Severity::Warning),
    }
}

/// Returns true if the trainer may see another value of the key than the config has.
fn may_differ(config: &Config<'_>, map: &Map<'_>, key: &str) -> bool {
    if entries(config, map, key).iter().any(|entry| entry.node.is_template()) {
        return true;
    }
    let key = key.split(['.', '/']).next().unwrap_or(key);
    map.path.is_empty() && is_elsewhere(config, map, key)
}

/// Returns true if a command may give the key to the config.
fn is_elsewhere(config: &Config<'_>, map: &Map<'_>, key: &str) -> bool {
    config.elsewhere.keys.contains(key) || config.elsewhere.is_open && map.get(key).is_none()
}

/// Returns the entries at a dotted key below the map. `a/b` is the key b, at any depth, of the file that a names.
fn entries<'m>(config: &'m Config<'_>, map: &'m Map<'_>, key: &str) -> Vec<&'m Entry> {
    if let Some((link, key)) = key.split_once('/') {
        let files = config.linked.iter().filter(|(known, _)| *known == link);
        let roots = files.flat_map(|(_, root)| std::iter::once(root).chain(root.items()));
        return roots.flat_map(|root| at_any_depth(root, key)).collect();
    }
    let mut parts = key.split('.');
    let mut found: Vec<&Entry> = parts.next().and_then(|first| map.get(first)).into_iter().collect();
    for part in parts {
        let maps = found.iter().flat_map(|entry| std::iter::once(&entry.node).chain(entry.node.items()));
        found = maps.flat_map(Node::entries).filter(|entry| entry.name() == part).collect();
    }
    found
}

/// Returns what a key counts as in each of the maps below that lack it, as with one of several data sets.
fn absent_in_maps<'k>(known: &'k Conditions, map: &Map<'_>, key: &str) -> Vec<&'k Node> {
    // Most keys have no dot, and most maps lack the rest: a look at the defaults comes last.
    let Some((entry, first, last)) = key.split_once('.').and_then(|(first, last)| Some((map.get(first)?, first, last)))
    else {
        return Vec::new();
    };
    let Some(absent) = known.absent(&map.path_of(first), last) else { return Vec::new() };
    let lacks = |item: &&Node| item.entries().iter().all(|entry| entry.name() != last);
    std::iter::once(&entry.node)
        .chain(entry.node.items())
        .filter(|node| !node.entries().is_empty())
        .filter(lacks)
        .map(|_| absent)
        .collect()
}

fn at_any_depth<'m>(node: &'m Node, key: &str) -> Vec<&'m Entry> {
    let below = |entry: &'m Entry| {
        let deeper = std::iter::once(&entry.node).chain(entry.node.items()).flat_map(|node| at_any_depth(node, key));
        std::iter::once(entry).filter(|entry| key == "*" || entry.key == key).chain(deeper.collect::<Vec<_>>())
    };
    node.entries().iter().flat_map(below).collect()
}
