//! Command lines that start a trainer, in scripts, Makefiles, `.travis.yml` and pages: their arguments are checked like
//! the keys of a config, at their own places. What only the job knows is unknown here, so nothing is said about it.

mod check;
mod files;
mod named;
mod numbers;
mod options;
mod overrides;
mod parse;
mod programs;
mod shell;

use std::collections::BTreeMap;

use crate::Finding;
use crate::Repository;
use crate::domain::{Rule, Severity};
use crate::rules::Elsewhere;

use check::Read;
use files::Kind;
use named::Place;
use shell::Command;

/// Maximum length of a file whose commands are read, in bytes.
const MAX_BYTES: usize = 256 * 1024;
/// Maximum number of calls of trainers that are checked in a file.
const MAX_CALLS: usize = 200;

/// Parts of the names of trainers' programs. A file without any of them starts no trainer.
const TELLING: [&str; 5] = ["train", "fine_tune", "trl", "swift", "run.py"];

/// Returns true if a file with this path may hold command lines.
pub fn may_hold(path: &str) -> bool {
    Kind::of(path).is_some()
}

/// Returns the problems of the calls of trainers in a file; `None` if it has no such call.
pub(super) fn problems(path: &str, text: &str, repository: &Repository<'_>) -> Option<Vec<Finding>> {
    let commands = commands(path, text);
    let place = Place::of(path, repository, &commands);
    let (mut findings, mut has_call) = (Vec::new(), false);
    let calls = commands.iter().enumerate().filter_map(|(index, command)| Some((index, programs::call(command)?)));
    for (index, call) in calls.take(MAX_CALLS) {
        if findings.len() > crate::MAX_PROBLEMS {
            break;
        }
        if !place.is_of_trainer(&call) {
            continue;
        }
        has_call = true;
        let cut = commands.get(index + 1).filter(|next| next.begins_line && !place.is_page).and_then(cut_off);
        findings.extend(Read::of(&call, &place, cut.is_some()).problems(&place));
        findings.extend(cut);
    }
    has_call.then_some(findings)
}

fn commands(path: &str, text: &str) -> Vec<Command> {
    // Few files start a trainer, and this look is cheap.
    let may_call = text.len() <= MAX_BYTES && TELLING.iter().any(|word| text.contains(word));
    Kind::of(path).filter(|_| may_call).map_or_else(Vec::new, |kind| kind.commands(text))
}

/// Reports a line of options that no longer belongs to the command before it.
fn cut_off(command: &Command) -> Option<Finding> {
    let first = command.arguments.first().filter(|first| first.text.starts_with("--"))?;
    let message = format!(
        "{} is no part of the command above: remove the comment, the blank line or the space behind a \\ that ends it",
        first.text.split('=').next().unwrap_or_default()
    );
    let at = Some(first.at);
    Some(Finding { rule: Rule::CutOffArguments, severity: Severity::Error, message, at, key: None, mend: None })
}

/// Returns what the calls in the repository's files give to each config beside its own keys.
pub(super) fn given(repository: &Repository<'_>) -> BTreeMap<String, Elsewhere> {
    let mut given: BTreeMap<String, Elsewhere> = BTreeMap::new();
    for (path, text) in repository.texts() {
        let Some(text) = std::str::from_utf8(text).ok().filter(|_| may_hold(path)) else { continue };
        let commands = commands(path, text);
        let place = Place::of(path, repository, &commands);
        let calls = commands.iter().filter_map(programs::call).take(MAX_CALLS);
        for call in calls.filter(|call| place.is_of_trainer(call)) {
            let read = Read::of(&call, &place, false);
            for config in read.config_paths(&place) {
                let more = read.gives();
                let known = given.entry(config).or_default();
                known.is_open |= more.is_open;
                known.keys.extend(more.keys);
            }
        }
    }
    given
}

#[cfg(test)]
mod tests;
