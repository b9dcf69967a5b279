//! Files that are right by the language and still surely not what their author meant.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::matrix::Config;
use crate::yaml::{Mark, Node};

/// A trap that a file stepped into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trap {
    /// Its name, in kebab-case.
    pub rule: &'static str,
    /// What happens, and what to write instead.
    pub message: String,
    /// Where it is written.
    pub at: Mark,
    /// The key.
    pub key: &'static str,
}

/// The traps in a file, with its config in the normal form.
pub fn traps(root: &Node, config: &Config) -> Vec<Trap> {
    env_list_splits_variables(root, config).into_iter().collect()
}

/// Values that only switch a job's kind: a list of them is meant as a list of jobs.
const SWITCHES: [&str; 8] = ["", "0", "1", "true", "false", "yes", "no", "on"];

/// A list under `env` makes one job per item. When no two items set the same variable and one command needs
/// variables of several items, every job lacks some of them.
fn env_list_splits_variables(root: &Node, config: &Config) -> Option<Trap> {
    let entry = root.get("env")?;
    let jobs = config.get("env")?.get("jobs")?.as_array()?;
    let items: Vec<&Config> = jobs.iter().filter_map(Json::as_object).filter(|item| !item.is_empty()).collect();
    if items.len() < 2 {
        return None;
    }
    let mut names = BTreeSet::new();
    let disjoint = items.iter().flat_map(|item| item.keys()).all(|name| names.insert(name.as_str()));
    let switches = items.iter().flat_map(|item| item.values()).any(|value| {
        let value = value.as_str().unwrap_or_default().trim_matches(['"', '\'']);
        SWITCHES.contains(&value)
    });
    if !disjoint || switches || names.contains("secure") {
        return None;
    }
    let commands = commands(config);
    let used: Vec<&str> = items
        .iter()
        .filter_map(|item| item.keys().find(|name| commands.iter().any(|command| uses(command, name))))
        .map(String::as_str)
        .collect();
    let [first, second, ..] = used.as_slice() else {
        return None;
    };
    let message = format!(
        "`env` is a list, which makes {} jobs with one item each: the job with {first} does not have {second}, and the \
         other way round. If one job needs them all, write them under `env: global:`",
        items.len()
    );
    Some(Trap { rule: "env-list-splits-variables", message, at: entry.at, key: "env" })
}

fn commands(config: &Config) -> Vec<&str> {
    const PHASES: [&str; 7] =
        ["before_install", "install", "before_script", "script", "after_success", "after_failure", "after_script"];
    let lines = PHASES.iter().filter_map(|phase| config.get(*phase)?.as_array());
    lines.flatten().filter_map(Json::as_str).collect()
}

/// Whether a command has `$NAME` or `${NAME`.
fn uses(command: &str, name: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let starts = |rest: &str| {
        let rest = rest.strip_prefix('{').unwrap_or(rest);
        rest.strip_prefix(name).is_some_and(|rest| !rest.starts_with(is_word))
    };
    command.split('$').skip(1).any(starts)
}
