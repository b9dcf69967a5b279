//! The matrix: from a config in its normal form to the jobs of a build.
//!
//! `expand` creates the jobs, `stages` puts them in order, `failures` marks those that may fail. A condition that
//! cannot be evaluated does not hold.

mod env;
mod expand;
mod failures;
mod stages;

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::{Map, Value as Json, json};

use super::condition::{self, Condition, Data, Operand};
use super::normal::{Code, Level, Message};
use crate::yaml::Mark;

pub use expand::expand;

/// The config of one job, or of the whole build.
pub type Config = Map<String, Json>;

/// Maximum number of jobs in a matrix before any of them is filtered out. Travis builds at most 200, and no file of
/// 8,974 real ones went over 189.
const MAX_PRODUCT: usize = 1_000;
/// Maximum weight of all jobs together: each job takes over the root's keys. The heaviest of 353 real files has a tenth
/// of it.
const MAX_WEIGHT: usize = 4_000_000;
/// Weight of a value in addition to its text, and the additional weight of a map.
const NODE_WEIGHT: usize = 40;
const MAP_WEIGHT: usize = 200;
/// Maximum number of comparisons of jobs with entries of `exclude` or `allow_failures`.
const MAX_PAIRS: usize = 100_000;
/// Maximum work for the conditions of one file, as [`Condition::work`] counts it.
const MAX_WORK: usize = 5_000;
/// Keys of a job that conditions may ask for, in addition to its variables.
const OF_THE_JOB: [&str; 6] = ["os", "dist", "arch", "language", "sudo", "group"];

/// The jobs of a build.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Matrix {
    /// Jobs in the order of their numbers.
    pub jobs: Vec<Config>,
    /// Stages that have jobs, in their order, as maps with `name` and maybe `if`. Empty without stages.
    pub stages: Vec<Json>,
    /// Notes on what was left out.
    pub messages: Vec<Message>,
    /// True when a bound on the work was reached, so that the jobs are not all that the file asks for.
    pub truncated: bool,
}

/// Returns the jobs of a config. `data` holds the facts about the build: the variables of conditions, and `env` with
/// the environment from the settings.
pub fn matrix(config: &Config, data: &Json) -> Matrix {
    let mut notes = Notes::default();
    let jobs = expand(config, data, &mut notes);
    let stages: Vec<Json> = config.get("stages").and_then(Json::as_array).cloned().unwrap_or_default();
    let (stages, jobs) = stages::assign(&stages, jobs, || facts_of_build(config, data), &mut notes);
    notifications(config, data, &mut notes);
    let jobs = failures::mark(config, jobs, data, &mut notes);
    let jobs = stages::order(&stages, jobs);
    Matrix { jobs, stages, messages: notes.messages.into_values().collect(), truncated: notes.truncated }
}

/// Assigns stages to jobs that already exist: the part of [`matrix`] about stages, before they are put in order.
pub fn with_stages(stages: &[Json], jobs: Vec<Config>, data: &Json) -> (Vec<Json>, Vec<Config>) {
    stages::assign(stages, jobs, || data.clone(), &mut Notes::default())
}

/// Returns the data for conditions about the build as a whole: the build's, and what the config sets for all jobs.
pub fn facts_of_build(config: &Config, data: &Json) -> Json {
    facts(config, &env::of_config(config), data)
}

/// Returns true if an entry's `if` holds; an entry without `if` always counts.
pub fn holds(entry: &Config, facts: &Json) -> bool {
    let Some(condition) = entry.get("if") else { return true };
    let Some(text) = condition.as_str() else { return condition.as_bool().unwrap_or(false) };
    let data = Data { variables: facts, env: &facts["env"] };
    condition::parse(text).and_then(|condition| condition.holds(data)).unwrap_or(false)
}

/// Notes on what was left out, each once: entries are checked again for every job. The notes also count the work.
#[derive(Debug, Default)]
pub struct Notes {
    messages: BTreeMap<(String, usize), Message>,
    conditions: HashMap<String, Known>,
    work: usize,
    weight: usize,
    truncated: bool,
}

/// A condition that was read before; `condition` is `None` when it cannot be parsed.
#[derive(Debug)]
struct Known {
    condition: Option<Condition>,
    /// Result of the condition when it asks for nothing that differs between jobs.
    result: Option<bool>,
}

impl Known {
    fn new(text: &str) -> Self {
        Self { condition: condition::parse(text).ok(), result: None }
    }
}

impl Notes {
    fn add(&mut self, code: Code, key: &str, number: usize, mut args: Json) {
        args["number"] = json!(number);
        let Json::Object(args) = args else { return };
        let message = Message { level: Level::Info, key: key.to_owned(), code, args, at: Mark::default(), sure: false };
        self.messages.entry((key.to_owned(), number)).or_insert(message);
    }

    /// Cuts the list to its maximum length.
    fn bounded<T>(&mut self, mut list: Vec<T>, most: usize) -> Vec<T> {
        self.truncated |= list.len() > most;
        list.truncate(most);
        list
    }

    /// Returns true if there may be another job in addition to `jobs`.
    fn affords(&mut self, job: &Config, jobs: usize) -> bool {
        self.weight += job.iter().map(|(key, value)| key.len() + weight(value)).sum::<usize>();
        self.truncated |= jobs >= MAX_PRODUCT || (jobs > 0 && self.weight > MAX_WEIGHT);
        !self.truncated
    }

    /// Works like [`holds`], but each condition is parsed once, a condition that asks for nothing of the job is
    /// evaluated once, and the work for the others is bounded.
    fn holds(&mut self, entry: &Config, facts: impl FnOnce() -> Json) -> bool {
        let Some(condition) = entry.get("if") else { return true };
        let Some(text) = condition.as_str() else { return condition.as_bool().unwrap_or(false) };
        if !self.conditions.contains_key(text) {
            self.conditions.insert(text.to_owned(), Known::new(text));
        }
        let Some(known) = self.conditions.get_mut(text) else { return false };
        let Some(condition) = &known.condition else { return false };
        if let Some(result) = known.result {
            return result;
        }
        self.work += condition.work();
        if self.work > MAX_WORK {
            self.truncated = true;
            return false;
        }
        // The expressions are compiled now, so that they count once: an evaluation may stop before it needs them.
        let _ = condition.check();
        let facts = facts();
        let result = condition.holds(Data { variables: &facts, env: &facts["env"] }).unwrap_or(false);
        let differs = |operand: &Operand| match operand {
            Operand::Env(_) => true,
            Operand::Variable(name) => OF_THE_JOB.contains(&name.as_str()),
            _ => false,
        };
        if !condition.names(&differs) {
            known.result = Some(result);
        }
        result
    }
}

/// Returns the weight of a value: its text, and a fixed amount for each part.
fn weight(value: &Json) -> usize {
    NODE_WEIGHT
        + match value {
            Json::String(text) => text.len(),
            Json::Array(items) => items.iter().map(weight).sum(),
            Json::Object(map) => MAP_WEIGHT + map.iter().map(|(key, value)| key.len() + weight(value)).sum::<usize>(),
            Json::Null | Json::Bool(_) | Json::Number(_) => 0,
        }
}

/// Returns the data for a job's conditions: the build's, overridden by the job's own keys.
fn facts(job: &Config, env: &[Json], data: &Json) -> Json {
    let mut facts = data.as_object().cloned().unwrap_or_default();
    for key in OF_THE_JOB {
        if let Some(value) = job.get(key) {
            facts.insert(key.to_owned(), value.clone());
        }
    }
    let mut all: Vec<Json> = match data.get("env") {
        Some(Json::Array(items)) => items.clone(),
        Some(Json::Null) | None => Vec::new(),
        Some(other) => vec![other.clone()],
    };
    all.extend(env.iter().cloned());
    facts.insert("env".to_owned(), Json::Array(all));
    Json::Object(facts)
}

/// Removes jobs that equal an earlier one.
fn unique(mut jobs: Vec<Config>) -> Vec<Config> {
    let mut seen = HashSet::with_capacity(jobs.len());
    let first: Vec<bool> = jobs.iter().map(|job| seen.insert(job)).collect();
    let mut first = first.into_iter();
    jobs.retain(|_| first.next().unwrap_or(true));
    jobs
}

/// Notes the notifications whose condition does not hold.
fn notifications(config: &Config, data: &Json, notes: &mut Notes) {
    let facts = || facts_of_build(config, data);
    let Some(channels) = config.get("notifications").and_then(Json::as_object) else {
        return;
    };
    for (channel, entries) in channels {
        for (index, entry) in entries.as_array().into_iter().flatten().enumerate() {
            if let Some(entry) = entry.as_object().filter(|entry| !notes.holds(entry, facts)) {
                let args = json!({"type": channel, "condition": entry.get("if")});
                notes.add(Code::SkipNotification, &format!("notifications.{channel}"), index + 1, args);
            }
        }
    }
}
