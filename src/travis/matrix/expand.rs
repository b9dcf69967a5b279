//! The product of the axes, `include`, `exclude`, and what jobs take over from the root (travis-yml matrix.rb).

use serde_json::{Value as Json, json};

use super::{Config, MAX_ENTRIES, MAX_PRODUCT, MAX_WEIGHT, Notes, env, facts, unique};
use crate::travis::normal::Code;
use crate::travis::schema::{self, Schema, Support};

/// Root keys that jobs do not take over.
const OF_THE_BUILD: [&str; 8] =
    ["jobs", "import", "stages", "notifications", "version", "allow_failure", "merge_mode", "env"];

/// The jobs before stages: product, include, exclude, conditions.
pub fn expand(config: &Config, data: &Json, notes: &mut Notes) -> Vec<Config> {
    let axes = axes(config);
    let include = entries(config, "include");
    let weight = Json::Object(shared(config)).to_string().len();
    let most = MAX_PRODUCT.min(MAX_WEIGHT / weight.max(1));
    let mut jobs = notes.bounded(product(&axes, most), most);
    let include = notes.bounded(include, most - jobs.len());
    if jobs.len() == 1 && !include.is_empty() {
        jobs.clear();
    }
    if jobs.is_empty() && include.is_empty() {
        jobs.push(Config::new());
    }
    let mut jobs: Vec<Config> = jobs.into_iter().map(|job| inherited(config, job, false)).collect();
    jobs.extend(included(&include).into_iter().map(|job| inherited(config, job, true)));
    let globals = env::global(config);
    let mut jobs: Vec<Config> = jobs.into_iter().map(|job| with_globals(job, &globals)).collect();
    let exclude = notes.bounded(entries(config, "exclude"), MAX_ENTRIES);
    jobs.retain(|job| {
        let facts = facts(job, &env::of_job(job), data);
        let mut entries = exclude.iter().enumerate();
        !entries.any(|(index, entry)| excludes(index, entry, job, &globals, &facts, notes))
    });
    let jobs = unique(jobs.into_iter().map(supported).collect());
    let mut kept: Vec<Config> = Vec::new();
    for (index, job) in jobs.into_iter().enumerate() {
        let number = index + 1;
        if notes.holds(&job, &facts(&job, &env::of_job(&job), data)) {
            kept.push(job);
        } else {
            notes.add(Code::SkipJob, "jobs.include", number, json!({"condition": job.get("if")}));
        }
    }
    kept
}

/// The maps under `jobs.KEY`. Empty ones are no entries.
pub(super) fn entries(config: &Config, key: &str) -> Vec<Config> {
    let list = config.get("jobs").and_then(|jobs| jobs.get(key)).and_then(Json::as_array);
    let maps = list.into_iter().flatten().filter_map(Json::as_object).cloned();
    maps.filter(|entry| !entry.is_empty()).collect()
}

/// The keys with the values that they give to jobs, slowest first.
fn axes(config: &Config) -> Vec<(String, Vec<Json>)> {
    let root = &schema::table().root;
    let mut axes = Vec::new();
    for key in schema::table().expand.iter().filter(|key| *key != "jobs") {
        let values = match config.get(key) {
            None | Some(Json::Null) => continue,
            Some(Json::Array(values)) => values.clone(),
            Some(value) => vec![value.clone()],
        };
        let refused = root.key(key).and_then(|schema| refused(schema, None, config)).is_some();
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

/// The product, with one job more than `most` if it has more.
fn product(axes: &[(String, Vec<Json>)], most: usize) -> Vec<Config> {
    if axes.is_empty() {
        return Vec::new();
    }
    let mut jobs = vec![Config::new()];
    for (key, values) in axes {
        let with = |job: &Config, value: &Json| {
            let mut job = job.clone();
            job.insert(key.clone(), value.clone());
            job
        };
        let pairs = jobs.iter().flat_map(|job| values.iter().map(move |value| with(job, value)));
        jobs = pairs.take(most + 1).collect();
    }
    jobs
}

/// The items of `include`. Without a stage they take that of the item before.
fn included(include: &[Config]) -> Vec<Config> {
    let mut stage: Option<Json> = None;
    let with_stage = |job: &Config| {
        let mut job = job.clone();
        match (job.get("stage"), &stage) {
            (Some(own), _) => stage = Some(own.clone()),
            (None, Some(before)) => {
                job.insert("stage".to_owned(), before.clone());
            }
            (None, None) => {}
        }
        job
    };
    include.iter().map(with_stage).collect()
}

/// The job with the root's keys that it lacks. An included job takes the first value of a matrix key.
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
    let mut all: Vec<Json> = Vec::new();
    let own = env::of_job(&job).into_iter().filter(|item| !item.as_object().is_some_and(Config::is_empty));
    for item in globals.iter().cloned().chain(own) {
        if !all.contains(&item) {
            all.push(item);
        }
    }
    if !all.is_empty() || job.contains_key("env") {
        job.insert("env".to_owned(), Json::Array(all));
    }
    job
}

fn excludes(index: usize, entry: &Config, job: &Config, globals: &[Json], facts: &Json, notes: &mut Notes) -> bool {
    if !notes.holds(entry, facts) {
        let args = json!({"condition": entry.get("if")});
        notes.add(Code::SkipExclude, "jobs.exclude", index + 1, args);
        return false;
    }
    let mut keys = entry.iter().filter(|(key, _)| *key != "if");
    keys.all(|(key, value)| matches(key, value, job, globals))
}

/// What every job takes over from the root.
fn shared(config: &Config) -> Config {
    let keys = config.iter().filter(|(key, _)| !OF_THE_BUILD.contains(&key.as_str()));
    let expand = &schema::table().expand;
    keys.filter(|(key, _)| !expand.contains(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Whether a key of an entry is that of the job.
pub(super) fn matches(key: &str, value: &Json, job: &Config, globals: &[Json]) -> bool {
    match key {
        "env" => {
            let entry: Vec<Json> = value.as_array().cloned().unwrap_or_default();
            env::is_same(&entry, &env::of_job(job), globals)
        }
        "stage" => {
            let stage = |value: Option<&Json>| value.and_then(Json::as_str).unwrap_or("test").to_lowercase();
            stage(job.get(key)) == stage(Some(value))
        }
        _ => job.get(key) == Some(value),
    }
}

/// The job without what has no effect on its language and system.
fn supported(job: Config) -> Config {
    let root = &schema::table().root;
    let keep = |(key, value): &(&String, &Json)| {
        root.key(key).and_then(|schema| refused(schema, value.as_str(), &job)).is_none()
    };
    job.iter().filter(keep).map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// The key whose value in `config` makes another key, or its value, be without effect.
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
