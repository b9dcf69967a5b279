//! Which stage a job belongs to, and in which order the stages come (travis-yml configs/stages.rb).

use serde_json::{Value as Json, json};

use super::{Config, MAX_ENTRIES, Notes, unique};
use crate::travis::normal::Code;

/// The stage of jobs that name none.
const DEFAULT: &str = "test";

/// Gives every job its stage if there are stages at all, and drops stages whose condition does not hold.
pub fn assign(stages: &[Json], jobs: Vec<Config>, facts: &Json, notes: &mut Notes) -> (Vec<Json>, Vec<Config>) {
    if stages.is_empty() && jobs.iter().all(|job| name_of(job).is_none()) {
        return (Vec::new(), jobs);
    }
    let mut stages: Vec<Json> = merged(&notes.bounded(stages.to_vec(), MAX_ENTRIES));
    let default = default_name(&stages, &jobs);
    let mut jobs = jobs;
    let mut before: Option<String> = None;
    for job in &mut jobs {
        let name = name_of(job).or(before.clone()).unwrap_or_else(|| default.clone());
        job.insert("stage".to_owned(), json!(name));
        if !stages.iter().any(|stage| same(stage_name(stage), &name)) {
            stages.push(json!({"name": name}));
        }
        before = Some(name);
    }
    let mut kept = Vec::new();
    for (index, stage) in stages.into_iter().enumerate() {
        let used = jobs.iter().any(|job| is_in(job, &stage));
        if stage.as_object().is_some_and(|stage| !notes.holds(stage, facts)) {
            notes.add(Code::SkipStage, "stages", index + 1, json!({"condition": stage.get("if")}));
            jobs.retain(|job| !is_in(job, &stage));
        } else if used {
            kept.push(stage);
        }
    }
    (kept, jobs)
}

/// The jobs by stage, those that must pass before those that may fail.
pub fn order(stages: &[Json], mut jobs: Vec<Config>) -> Vec<Config> {
    let rank = |job: &Config| {
        let stage = stages.iter().position(|stage| is_in(job, stage)).unwrap_or(stages.len());
        (stage, job.get("allow_failure") == Some(&Json::Bool(true)))
    };
    jobs.sort_by_key(rank);
    unique(jobs)
}

/// The stages of the list, each name once.
fn merged(stages: &[Json]) -> Vec<Json> {
    let mut all: Vec<Json> = Vec::new();
    for stage in stages.iter().filter(|stage| stage.is_object()) {
        if !all.iter().any(|other| same(stage_name(other), stage_name(stage))) {
            all.push(stage.clone());
        }
    }
    all
}

/// The default stage, as the list or a job spells it.
fn default_name(stages: &[Json], jobs: &[Config]) -> String {
    let listed = stages.iter().map(|stage| stage_name(stage).to_owned());
    let mut names = listed.chain(jobs.iter().filter_map(name_of));
    names.find(|name| same(name, DEFAULT)).unwrap_or_else(|| DEFAULT.to_owned())
}

fn is_in(job: &Config, stage: &Json) -> bool {
    name_of(job).is_some_and(|name| same(&name, stage_name(stage)))
}

fn name_of(job: &Config) -> Option<String> {
    job.get("stage").and_then(Json::as_str).map(str::to_owned)
}

fn stage_name(stage: &Json) -> &str {
    stage.get("name").and_then(Json::as_str).unwrap_or_default()
}

fn same(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}
