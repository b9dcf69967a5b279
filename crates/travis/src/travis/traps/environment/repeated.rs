//! Traps about variables that one job is given more than once in one place.

use super::written::{Form, Group, Item, Place, written};
use crate::domain::{Rule, Severity};
use crate::travis::env;
use crate::travis::traps::Trap;
use crate::yaml::{Mark, Node};

/// Maximum number of variables of one place that are compared with each other.
const MAX_VARIABLES: usize = 500;

/// Returns a trap for each variable whose first value is lost, as a later one replaces it.
pub(in crate::travis::traps) fn repeated_variables(root: &Node) -> Vec<Trap> {
    written(root).iter().flat_map(of_group).collect()
}

struct Setting<'a> {
    name: String,
    value: String,
    item: &'a Item<'a>,
}

fn of_group(group: &Group<'_>) -> Vec<Trap> {
    match group.place {
        Place::Jobs => group.items.iter().flat_map(|item| repeated(group.place, std::slice::from_ref(item))).collect(),
        Place::Global | Place::Included => repeated(group.place, &group.items),
    }
}

fn repeated(place: Place, items: &[Item<'_>]) -> Vec<Trap> {
    let settings: Vec<Setting<'_>> = items.iter().flat_map(settings).take(MAX_VARIABLES).collect();
    let mut traps = Vec::new();
    for (index, second) in settings.iter().enumerate() {
        let is_same = |other: &&Setting<'_>| other.name == second.name && together(other.item, second.item);
        if settings[..index].iter().filter(is_same).count() != 1 {
            continue;
        }
        let same: Vec<&Setting<'_>> = settings.iter().filter(is_same).collect();
        // `PATH=…:$PATH` goes on from the value before it.
        let goes_on = same.iter().any(|setting| names(&setting.value, &setting.name));
        let differs = same.iter().any(|setting| setting.value != second.value);
        if differs && !goes_on {
            traps.push(trap(message(place, &second.name, same.len()), second.item.at));
        }
    }
    traps
}

/// Returns true if two items are written in one list. What an alias or an import brings into it may well be replaced.
fn together(one: &Item<'_>, other: &Item<'_>) -> bool {
    let is_written_there = |item: &Item<'_>| item.at.file == item.list.file && item.at >= item.list;
    one.list == other.list && is_written_there(one) && is_written_there(other)
}

fn settings<'a>(item: &'a Item<'a>) -> Vec<Setting<'a>> {
    let pairs = match item.form {
        Form::Text(text) => env::pairs(text).unwrap_or_default(),
        Form::Entry(name, value) => vec![(name.to_owned(), value.to_owned())],
    };
    pairs.into_iter().map(|(name, value)| Setting { name, value, item }).collect()
}

/// Returns true if a value uses a variable.
fn names(value: &str, name: &str) -> bool {
    let starts = |rest: &str| rest.strip_prefix('{').unwrap_or(rest).starts_with(name);
    value.split('$').skip(1).any(starts)
}

fn message(place: Place, name: &str, times: usize) -> String {
    let (what, mend) = match place {
        Place::Jobs => ("in this one item", "write an item for each value to get a job for each, or keep one"),
        Place::Included => (
            "for this one job, whose `env` makes no further jobs",
            "write an entry of `jobs: include:` for each value, or keep one",
        ),
        Place::Global => ("for all jobs", "keep one, or move them to `env: jobs:` to get a job for each value"),
    };
    format!("{name} is set {times} times {what}, so only the last value counts: {mend}")
}

fn trap(message: String, at: Mark) -> Trap {
    Trap { severity: Severity::Warning, rule: Rule::RepeatedVariable, message, at, key: "env".to_owned() }
}
