//! Traps about conditions that have the same result in every build.

#[cfg(test)]
mod tests;

use std::collections::HashSet;

use super::Trap;
use crate::domain::{Rule, Severity};
use crate::travis::condition::possible::{Budget, KINDS, always_holds, is_branch, never_holds};
use crate::travis::condition::{self, Condition, Constant, Operand};
use crate::travis::shell::is_name;
use crate::yaml::{Data, Mark, Node};

/// Maximum number of conditions of a file that are checked, and the maximum length of one, in bytes.
const MAX_CONDITIONS: usize = 200;
const MAX_BYTES: usize = 2_000;

/// Returns a trap for each `if` whose result is known before any event.
pub(super) fn constant_conditions(root: &Node) -> Vec<Trap> {
    let found = written(root).into_iter();
    checked(found.filter_map(|found| Some((found.place, found.key, found.value.text()?, found.value.at))))
}

/// Works like [`constant_conditions`] for the conditions of imports, which are no part of the merged document.
pub fn import_traps(conditions: &[(String, Mark)]) -> Vec<Trap> {
    checked(conditions.iter().map(|(text, at)| (Place::Import, "import.if".to_owned(), text.as_str(), *at)))
}

fn checked<'a>(conditions: impl Iterator<Item = (Place, String, &'a str, Mark)>) -> Vec<Trap> {
    let mut budget = Budget::default();
    let mut seen = HashSet::new();
    let first = conditions.filter(|(.., text, at)| text.len() <= MAX_BYTES && seen.insert(*at)).take(MAX_CONDITIONS);
    let traps = first.filter_map(|(place, key, text, at)| {
        // The normal form reports a condition that cannot be parsed.
        let condition = condition::parse(text).ok()?;
        let (rule, message) = fault(&condition, place, &mut budget)?;
        Some(Trap { severity: Severity::Warning, rule, message, at, key })
    });
    traps.collect()
}

/// The thing that a condition decides about.
#[derive(Debug, Clone, Copy)]
enum Place {
    Build,
    Stage,
    Job,
    Exclude,
    AllowFailure,
    Notification,
    Import,
}

impl Place {
    /// Returns what happens without exception when the condition is false, or when it is true.
    fn outcome(self, holds: bool) -> &'static str {
        match (self, holds) {
            (Self::Build, false) => "nothing is ever built",
            (Self::Stage, false) => "the stage is left out of every build",
            (Self::Job, false) => "the job is left out of every build",
            (Self::Exclude, false) => "it excludes no job",
            (Self::AllowFailure, false) => "no job may fail because of it",
            (Self::Notification, false) => "the notification is never sent",
            (Self::Import, false) => "the file is never imported",
            (_, true) => "the condition has no effect",
        }
    }
}

struct Found<'a> {
    place: Place,
    key: String,
    value: &'a Node,
}

fn written(root: &Node) -> Vec<Found<'_>> {
    let mut all = Vec::new();
    find(Place::Build, "", root, &mut all);
    if let Some(stages) = root.get("stages") {
        find(Place::Stage, "stages.", &stages.value, &mut all);
    }
    for jobs in ["jobs", "matrix"].into_iter().filter_map(|key| root.get(key)) {
        find(Place::Job, "jobs.include.", &jobs.value, &mut all);
        for (key, place) in
            [("include", Place::Job), ("exclude", Place::Exclude), ("allow_failures", Place::AllowFailure)]
        {
            if let Some(entries) = jobs.value.get(key) {
                find(place, &format!("jobs.{key}."), &entries.value, &mut all);
            }
        }
    }
    if let Some(notifications) = root.get("notifications") {
        find(Place::Notification, "notifications.", &notifications.value, &mut all);
        for channel in notifications.value.entries() {
            find(Place::Notification, &format!("notifications.{}.", channel.key), &channel.value, &mut all);
        }
    }
    all
}

/// Finds `if` in a map, or in each map of a list.
fn find<'a>(place: Place, prefix: &str, node: &'a Node, all: &mut Vec<Found<'a>>) {
    let maps = match &node.data {
        Data::Seq(items) => items.as_slice(),
        _ => std::slice::from_ref(node),
    };
    let found = maps.iter().filter_map(|map| map.get("if"));
    all.extend(found.map(|entry| Found { place, key: format!("{prefix}if"), value: &entry.value }));
}

fn fault(condition: &Condition, place: Place, budget: &mut Budget) -> Option<(Rule, String)> {
    let constant = condition.constant().map(|constant| match constant {
        Constant::Alone(word) => format!(
            "`{}` stands alone in this condition, and a bare word or text always counts as true, whatever is built: {}",
            shown(word),
            mend(word, true)
        ),
        Constant::Compared(word) => format!(
            "`{}` is only a text here, and no fact of the build, so this part of the condition always has the same \
             result: {}",
            shown(word),
            mend(word, false)
        ),
    });
    if let Some(message) = constant.or_else(|| no_such_text(condition)) {
        return Some((Rule::ConstantCondition, message));
    }
    // An author who writes `AND false` knows the result.
    if condition.is_switched() {
        return None;
    }
    if never_holds(condition, budget) {
        let message = format!("this condition can never hold, so {}: {}", place.outcome(false), why_never(condition));
        return Some((Rule::ConditionNeverHolds, message));
    }
    always_holds(condition, budget).then(|| {
        let message = format!(
            "this condition holds in every build, so {}: each build fulfils one of its parts; join parts with `!=` or \
             NOT by AND, or drop the condition",
            place.outcome(true)
        );
        (Rule::ConditionAlwaysHolds, message)
    })
}

fn shown(word: &str) -> String {
    word.chars().take(60).collect()
}

/// Returns what to write for a text that is meant as a fact.
fn mend(word: &str, alone: bool) -> String {
    let bare = word.trim_matches(['$', '{', '}']);
    let lower = bare.to_lowercase();
    let name = match lower.strip_prefix("travis_").unwrap_or(&lower) {
        "event_type" => "type",
        name => name,
    };
    let is_near = |known: &&str| known.len() > 3 && strsim::osa_distance(name, known) <= 1;
    match condition::variables().find(is_near) {
        _ if name == "pull_request" => "write `type = pull_request`".to_owned(),
        Some(known) if known == word => format!("write blanks around the operator behind `{known}`"),
        Some(known) => format!("write `{known}`, the name of the fact"),
        None if name == "tag" => "write `tag`, the name of the fact".to_owned(),
        None if is_name(bare) && bare == bare.to_uppercase() => format!("write `env({bare})` for a variable"),
        None if alone && is_branch(word) => {
            format!("compare it with a fact, as in `branch = {}` or `branch IN (…, …)`", shown(word))
        }
        None => "write the name of a fact, such as `branch`, `tag` or `type`, or `env(NAME)` for a variable".to_owned(),
    }
}

/// Returns true if the condition asks for the fact of this name.
fn asks(condition: &Condition, name: &str) -> bool {
    condition.names(&|operand| matches!(operand, Operand::Variable(variable) if variable == name))
}

/// Returns the first text that is compared with a fact of this name.
fn compared<'a>(condition: &'a Condition, fact: &str, wanted: &dyn Fn(&str) -> bool) -> Option<&'a str> {
    let is_fact = |operand: &Operand| matches!(operand, Operand::Variable(name) if name == fact);
    let text = |operand: &'a Operand| match operand {
        Operand::Text(text) if wanted(text) => Some(text.as_str()),
        _ => None,
    };
    match condition {
        Condition::Or(left, right) | Condition::And(left, right) => {
            compared(left, fact, wanted).or_else(|| compared(right, fact, wanted))
        }
        Condition::Not(inner) => compared(inner, fact, wanted),
        Condition::Equal(left, right, _) if is_fact(left) => text(right),
        Condition::In(left, list, _) if is_fact(left) => list.iter().find_map(text),
        _ => None,
    }
}

/// Describes a text that the fact beside it never has, if there is one, with the mend.
fn no_such_text(condition: &Condition) -> Option<String> {
    if let Some(kind) = compared(condition, "type", &|text| !KINDS.contains(&text)) {
        return Some(format!(
            "no build is ever of the type `{}`, so this part of the condition cannot hold: the types are push, \
             pull_request, api and cron",
            shown(kind)
        ));
    }
    let is_none = |text: &str| !text.is_empty() && !is_branch(text);
    let text = ["branch", "tag", "head_branch"].iter().find_map(|fact| compared(condition, fact, &is_none))?;
    let mend = if text.contains(char::is_whitespace) {
        "write a list of names with commas, as in `branch IN (a, b)`"
    } else {
        "write `=~` for a pattern"
    };
    Some(format!(
        "no branch or tag is ever called `{}`, and `=` and `IN` compare with this whole text, so this part of the \
         condition cannot hold: {mend}",
        shown(text)
    ))
}

fn why_never(condition: &Condition) -> &'static str {
    let of_pull_requests = ["head_branch", "head_repo", "draft"].iter().any(|fact| asks(condition, fact));
    match (asks(condition, "tag"), asks(condition, "branch"), asks(condition, "type")) {
        (tag, _, kind) if of_pull_requests && (tag || kind) => {
            "only pull requests have a head and can be drafts, and they have no tag; drop one of both parts"
        }
        (true, true, _) => {
            "in the build of a tag, `branch` is the tag's name, and other builds have no tag; ask for the branch or \
             for the tag, with OR between them for both"
        }
        (true, _, true) => "only a push can be one of a tag; drop one of both parts",
        _ => "its parts contradict each other; join them with OR, or drop one of them",
    }
}
