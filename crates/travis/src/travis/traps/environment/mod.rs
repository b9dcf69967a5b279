//! Traps about variables: those that a job does not have, those that it gets twice, and values that the shell cuts.

mod repeated;
#[cfg(test)]
mod tests;
mod values;
mod written;

use std::collections::{BTreeSet, HashMap};

use serde_json::Value as Json;

use super::Trap;
use super::commands::{Command, MAX_BYTES};
use super::shell::{Variables, variables};
use crate::domain::{PHASES, Rule, Severity};
use crate::travis::matrix::Config;
use crate::yaml::Node;

pub(super) use repeated::repeated_variables;
pub(super) use values::cut_values;

/// Values that only switch a job's kind: a list of them is meant as a list of jobs.
const SWITCHES: [&str; 8] = ["", "0", "1", "true", "false", "yes", "no", "on"];

/// Checks a list under `env`, which makes one job per item. When no two items set the same variable and the commands
/// require variables of several items, every job lacks some of them.
pub(super) fn list_splits_variables(root: &Node, config: &Config) -> Option<Trap> {
    let entry = root.get("env")?;
    let jobs = config.get("env")?.get("jobs")?.as_array()?;
    let items: Vec<&Config> = jobs.iter().filter_map(Json::as_object).filter(|item| !item.is_empty()).collect();
    if !(2..=MAX_ITEMS).contains(&items.len()) {
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
    let commands: Vec<&str> = commands(config).collect();
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
    let (severity, rule) = (Severity::Warning, Rule::EnvListSplitsVariables);
    Some(Trap { severity, rule, message, at: entry.at, key: "env".to_owned() })
}

/// Returns the commands of a job, or those at the root of the config.
fn commands(config: &Config) -> impl Iterator<Item = &str> {
    let lines = PHASES.iter().filter_map(|phase| config.get(*phase)?.as_array());
    lines.flatten().filter_map(Json::as_str).filter(|line| line.len() <= MAX_BYTES)
}

/// Returns true if a command has `$NAME` or `${NAME`.
fn uses(command: &str, name: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let starts = |rest: &str| {
        let rest = rest.strip_prefix('{').unwrap_or(rest);
        rest.strip_prefix(name).is_some_and(|rest| !rest.starts_with(is_word))
    };
    command.split('$').skip(1).any(starts)
}

/// Maximum number of jobs whose variables are checked, and the maximum length of their commands together.
const MAX_JOBS: usize = 200;
const MAX_TEXT: usize = 500_000;
/// Maximum number of items of `env`, and of variables, that are looked for in every command.
const MAX_ITEMS: usize = 20;

/// Returns a trap for each variable that a command of a job requires and that nothing in the file gives a value. The
/// repository's settings may do so, so this is only worth knowing, unless another name in the file is nearly the same.
pub(super) fn undefined_variables(commands: &[Command<'_>], jobs: &[Config], defined: &BTreeSet<&str>) -> Vec<Trap> {
    // An encrypted variable has no visible name, so any name could be its name.
    if defined.contains("secure") {
        return Vec::new();
    }
    let mut parsed: HashMap<&str, Variables<'_>> = HashMap::new();
    let mut missing = BTreeSet::new();
    let mut text = 0;
    for job in jobs.iter().take(MAX_JOBS) {
        text += self::commands(job).map(str::len).sum::<usize>();
        if text > MAX_TEXT {
            break;
        }
        for command in self::commands(job) {
            parsed.entry(command).or_insert_with(|| variables(command));
        }
        let of_job: Vec<&Variables<'_>> = self::commands(job).filter_map(|command| parsed.get(command)).collect();
        if of_job.iter().any(|variables| variables.opaque) {
            continue;
        }
        let known: BTreeSet<&str> = of_job.iter().flat_map(|variables| variables.known.iter().copied()).collect();
        let used = of_job.iter().flat_map(|variables| variables.used.iter().copied());
        missing.extend(used.filter(|name| !known.contains(name) && !defined.contains(name) && is_own(name)));
    }
    let place = |name: &str| commands.iter().find(|command| uses(command.text, name));
    let traps = missing
        .into_iter()
        .take(MAX_ITEMS)
        .filter_map(|name| place(name).map(|command| undefined(name, command, defined)));
    traps.collect()
}

/// Returns the names that any `env` of the file gives a value. A job that lacks another job's variable lacks it on
/// purpose.
pub(super) fn defined_in_file<'a>(config: &'a Config, jobs: &'a [Config]) -> BTreeSet<&'a str> {
    let of_root = config.get("env").and_then(Json::as_object).into_iter().flat_map(|env| env.values());
    let envs = of_root.chain(jobs.iter().take(MAX_JOBS).filter_map(|job| job.get("env")));
    let items = envs.filter_map(Json::as_array).flatten().filter_map(Json::as_object);
    items.flatten().map(|(name, value)| if value.is_object() { "secure" } else { name }).collect()
}

fn undefined(name: &str, command: &Command<'_>, defined: &BTreeSet<&str>) -> Trap {
    let is_near = |other: &&&str| name.len() > 4 && other.len() > 4 && strsim::osa_distance(name, other) == 1;
    // Numbers at the end distinguish variables that belong together.
    let stem = |name: &str| name.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned();
    let meant = defined.iter().find(|other| is_near(other) && stem(other) != stem(name));
    let (severity, what) = match meant {
        Some(meant) => (Severity::Warning, format!("the file defines {meant}: did you mean that one?")),
        None => (Severity::Info, "it is empty unless the repository's settings define it".to_owned()),
    };
    let message = format!("${name} is used here, and nothing in this file gives it a value; {what}");
    Trap { severity, rule: Rule::UndefinedVariable, message, at: command.at, key: command.phase.to_owned() }
}

/// Returns true if a name can be the author's own: it is in upper case, as the variables of a CI are, and neither the
/// shell, the image nor Travis provides it.
fn is_own(name: &str) -> bool {
    const PROVIDED: &str = "CI CONTINUOUS_INTEGRATION HAS_JOSH_K_SEAL_OF_APPROVAL HOME PATH PWD OLDPWD USER LOGNAME \
                            SHELL SHLVL TERM HOSTNAME HOSTTYPE OSTYPE MACHTYPE UID EUID PPID IFS RANDOM SECONDS LINENO \
                            FUNCNAME PIPESTATUS OPTARG OPTIND REPLY COLUMNS LINES TMPDIR TMP TEMP TZ LANG LANGUAGE \
                            DISPLAY PAGER EDITOR VIRTUAL_ENV JAVA_HOME JDK_HOME GOPATH GOROOT GEM_HOME GEM_PATH \
                            NVM_DIR CC CXX FC CFLAGS CXXFLAGS LDFLAGS LD_LIBRARY_PATH RAILS_ENV RACK_ENV";
    const PREFIXES: &str = "TRAVIS ANSI_ BASH LC_ XDG_ CONDA PYTHON PIP_ ANDROID RUBY GITHUB_ MAVEN_ M2_ PG MYSQL_ \
                            DEBIAN_ PKG_CONFIG";
    name.len() > 1
        && name.starts_with(|c: char| c.is_ascii_uppercase())
        && !name.contains(|c: char| c.is_ascii_lowercase())
        && !PROVIDED.split(' ').any(|provided| provided == name)
        && !PREFIXES.split(' ').any(|prefix| name.starts_with(prefix))
}
