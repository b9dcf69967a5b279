//! Expansion into jobs: the product of the axes, `include`, `exclude`, and the root's keys that jobs take over
//! (travis-yml matrix.rb).

use std::collections::HashSet;

use serde_json::{Value as Json, json};

use super::{Config, MAX_PAIRS, Notes, env, facts, unique};
use crate::travis::normal::Code;
use crate::travis::schema::{self, Schema, Support};

/// Root keys that jobs do not take over.
const OF_THE_BUILD: [&str; 8] =
    ["jobs", "import", "stages", "notifications", "version", "allow_failure", "merge_mode", "env"];

/// Returns the jobs before stages: product, include, exclude, conditions.
pub fn expand(config: &Config, data: &Json, notes: &mut Notes) -> Vec<Config> {
    let globals = env::global(config);
    let axes = axes(config);
    let include = entries(config, "include");
    // A product of a single job exists only when there are no other jobs.
    let is_replaced = !include.is_empty() && axes.iter().all(|(_, values)| values.len() == 1);
    let product = product(&axes).filter(|_| !is_replaced).map(|job| inherited(config, job, false));
    let include = included(&include).map(|job| inherited(config, job, true));
    let mut jobs = Vec::new();
    for job in product.chain(include).map(|job| with_globals(job, &globals)) {
        if !notes.affords(&job, jobs.len()) {
            break;
        }
        jobs.push(job);
    }
    if jobs.is_empty() {
        jobs.push(with_globals(inherited(config, Config::new(), false), &globals));
    }
    let globals: HashSet<&Json> = globals.iter().collect();
    let exclude = notes.bounded(entries(config, "exclude"), MAX_PAIRS / jobs.len().max(1));
    let exclude: Vec<Beside<'_>> = exclude.iter().map(|entry| Beside::new(entry, &globals)).collect();
    if !exclude.is_empty() {
        jobs.retain(|job| {
            let job = Beside::new(job, &globals);
            !exclude.iter().enumerate().any(|(index, entry)| excludes(index, entry, &job, data, notes))
        });
    }
    let jobs = unique(jobs.into_iter().map(supported).collect());
    let mut kept: Vec<Config> = Vec::new();
    for (index, job) in jobs.into_iter().enumerate() {
        if notes.holds(&job, || facts(&job, &env::of_job(&job), data)) {
            kept.push(job);
        } else {
            notes.add(Code::SkipJob, "jobs.include", index + 1, json!({"condition": job.get("if")}));
        }
    }
    kept
}

/// Returns the maps under `jobs.KEY`. Empty maps are not entries.
pub(super) fn entries(config: &Config, key: &str) -> Vec<Config> {
    let list = config.get("jobs").and_then(|jobs| jobs.get(key)).and_then(Json::as_array);
    let maps = list.into_iter().flatten().filter_map(Json::as_object).cloned();
    maps.filter(|entry| !entry.is_empty()).collect()
}

/// Returns the keys with the values that they give to jobs, slowest first.
fn axes(config: &Config) -> Vec<(String, Vec<Json>)> {
    let mut axes = Vec::new();
    for key in schema::table().expand.iter().filter(|key| *key != "jobs") {
        let values = match config.get(key) {
            None | Some(Json::Null) => continue,
            Some(Json::Array(values)) => values.clone(),
            Some(value) => vec![value.clone()],
        };
        let refused = schema::table().root.key(key).and_then(|schema| refused(schema, None, config)).is_some();
        if !values.is_empty() && !refused {
            axes.push((key.clone(), values));
        }
    }
    let envs: Vec<Json> = env::jobs(config).into_iter().map(|env| json!([env])).collect();
    if !envs.is_empty() {
        axes.push(("env".to_owned(), envs));
    }
    axes
}

/// Returns the product job by job, so that a product that is too large is never built as a whole.
fn product(axes: &[(String, Vec<Json>)]) -> impl Iterator<Item = Config> {
    let jobs = axes.iter().fold(1_usize, |jobs, (_, values)| jobs.saturating_mul(values.len()));
    let jobs = if axes.is_empty() { 0 } else { jobs };
    (0..jobs).map(|index| {
        let mut rest = index;
        let mut pairs: Vec<(String, Json)> = Vec::with_capacity(axes.len());
        for (key, values) in axes.iter().rev() {
            pairs.push((key.clone(), values[rest % values.len()].clone()));
            rest /= values.len();
        }
        pairs.into_iter().rev().collect()
    })
}

/// Returns the items of `include`. An item without a stage takes that of the item before.
fn included(include: &[Config]) -> impl Iterator<Item = Config> {
    let mut stage: Option<&Json> = None;
    include.iter().map(move |job| {
        let mut job_with_stage = job.clone();
        match (job.get("stage"), stage) {
            (Some(own), _) => stage = Some(own),
            (None, Some(before)) => {
                job_with_stage.insert("stage".to_owned(), before.clone());
            }
            (None, None) => {}
        }
        job_with_stage
    })
}

/// Adds the root's keys that the job lacks. An included job takes the first value of a matrix key.
fn inherited(config: &Config, mut job: Config, is_included: bool) -> Config {
    let expand = &schema::table().expand;
    for (key, value) in config {
        let is_empty = value.as_array().is_some_and(Vec::is_empty);
        if is_empty || job.contains_key(key) || OF_THE_BUILD.contains(&key.as_str()) {
            continue;
        }
        match value {
            Json::Array(values) if expand.contains(key) => {
                if let Some(first) = values.first().filter(|_| is_included) {
                    job.insert(key.clone(), first.clone());
                }
            }
            _ => {
                job.insert(key.clone(), value.clone());
            }
        }
    }
    if is_included
        && !job.contains_key("env")
        && let Some(first) = env::jobs(config).into_iter().next()
    {
        job.insert("env".to_owned(), json!([first]));
    }
    job
}

fn with_globals(mut job: Config, globals: &[Json]) -> Config {
    let own: Vec<Json> =
        env::of_job(&job).into_iter().filter(|item| !item.as_object().is_some_and(Config::is_empty)).collect();
    let mut seen = HashSet::new();
    let all: Vec<Json> = globals.iter().chain(&own).filter(|item| seen.insert(*item)).cloned().collect();
    if !all.is_empty() || job.contains_key("env") {
        job.insert("env".to_owned(), Json::Array(all));
    }
    job
}

fn excludes(index: usize, entry: &Beside<'_>, job: &Beside<'_>, data: &Json, notes: &mut Notes) -> bool {
    if !notes.holds(entry.config, || facts(job.config, &env::of_job(job.config), data)) {
        let args = json!({"condition": entry.config.get("if")});
        notes.add(Code::SkipExclude, "jobs.exclude", index + 1, args);
        return false;
    }
    let mut keys = entry.config.keys().filter(|key| *key != "if");
    keys.all(|key| entry.matches(key, job))
}

/// A job or an entry that may name it, with its variables apart from those for all jobs.
pub(super) struct Beside<'a> {
    pub(super) config: &'a Config,
    env: Vec<&'a Json>,
}

impl<'a> Beside<'a> {
    pub(super) fn new(config: &'a Config, globals: &HashSet<&Json>) -> Self {
        let env = config.get("env").and_then(Json::as_array).into_iter().flatten();
        Self { config, env: env.filter(|item| !globals.contains(item)).collect() }
    }

    /// Returns true if a key of this entry equals that of the job.
    pub(super) fn matches(&self, key: &str, job: &Self) -> bool {
        let stage = |value: Option<&Json>| value.and_then(Json::as_str).unwrap_or("test").to_lowercase();
        let (entry, of_job) = (self.config.get(key), job.config.get(key));
        match key {
            "env" => self.env == job.env,
            "stage" => stage(of_job) == stage(entry),
            _ => of_job == entry,
        }
    }
}

/// Removes from the job what has no effect on its language and system.
fn supported(mut job: Config) -> Config {
    let root = &schema::table().root;
    let is_refused = |key: &str, value: &Json| root.key(key).and_then(|s| refused(s, value.as_str(), &job)).is_some();
    let pairs = job.iter().filter(|(key, value)| is_refused(key, value));
    let refused: Vec<String> = pairs.map(|(key, _)| key.clone()).collect();
    job.retain(|key, _| !refused.contains(key));
    job
}

/// Returns the key whose value in `config` takes the effect from another key, or from its value.
fn refused(schema: &Schema, value: Option<&str>, config: &Config) -> Option<String> {
    let values_of = |key: &str| match config.get(key) {
        Some(Json::Array(values)) => values.iter().filter_map(Json::as_str).map(str::to_owned).collect(),
        Some(Json::String(value)) => vec![value.clone()],
        _ => Vec::new(),
    };
    let item = schema.item().map_or(schema, |item| item);
    let about = value.and_then(|value| item.traits.about.get(value)).map(|about| &about.support);
    let supports: [Option<&Support>; 3] = [Some(&schema.traits.support), Some(&item.traits.support), about];
    supports.into_iter().flatten().find_map(|support| support.refused(values_of)).map(|(key, _)| key.to_owned())
}
