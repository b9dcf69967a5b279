//! Assignment of jobs to stages, and the order of the stages (travis-yml configs/stages.rb).

use std::collections::{HashMap, HashSet};

use serde_json::{Value as Json, json};

use super::{Config, Notes, unique};
use crate::travis::normal::Code;

/// The stage of jobs that do not name a stage.
const DEFAULT: &str = "test";

/// Assigns a stage to every job if there are stages at all, and drops stages whose condition does not hold.
pub fn assign(
    stages: &[Json],
    mut jobs: Vec<Config>,
    facts: impl Fn() -> Json,
    notes: &mut Notes,
) -> (Vec<Json>, Vec<Config>) {
    if stages.is_empty() && jobs.iter().all(|job| name_of(job).is_none()) {
        return (Vec::new(), jobs);
    }
    // Names are compared without regard to case.
    let mut names = HashSet::new();
    let mut stages = stages.to_vec();
    stages.retain(|stage| stage.is_object() && names.insert(stage_name(stage).to_lowercase()));
    let default = default_name(&stages, &jobs);
    let mut used = HashSet::new();
    let mut before: Option<String> = None;
    for job in &mut jobs {
        let name = name_of(job).or(before).unwrap_or_else(|| default.clone());
        job.insert("stage".to_owned(), json!(name));
        if used.insert(name.to_lowercase()) && names.insert(name.to_lowercase()) {
            stages.push(json!({"name": name}));
        }
        before = Some(name);
    }
    let mut dropped = HashSet::new();
    let mut kept = Vec::new();
    for (index, stage) in stages.into_iter().enumerate() {
        let name = stage_name(&stage).to_lowercase();
        if stage.as_object().is_some_and(|stage| !notes.holds(stage, &facts)) {
            notes.add(Code::SkipStage, "stages", index + 1, json!({"condition": stage.get("if")}));
            dropped.insert(name);
        } else if used.contains(&name) {
            kept.push(stage);
        }
    }
    jobs.retain(|job| name_of(job).is_none_or(|name| !dropped.contains(&name.to_lowercase())));
    (kept, jobs)
}

/// Sorts the jobs by stage, those that must pass before those that may fail.
pub fn order(stages: &[Json], mut jobs: Vec<Config>) -> Vec<Config> {
    let places = stages.iter().enumerate().map(|(place, stage)| (stage_name(stage).to_lowercase(), place));
    let places: HashMap<String, usize> = places.collect();
    jobs.sort_by_cached_key(|job| {
        let place = name_of(job).and_then(|name| places.get(&name.to_lowercase()).copied());
        (place.unwrap_or(stages.len()), job.get("allow_failure") == Some(&Json::Bool(true)))
    });
    unique(jobs)
}

/// Returns the default stage, as the list or a job spells it.
fn default_name(stages: &[Json], jobs: &[Config]) -> String {
    let listed = stages.iter().map(|stage| stage_name(stage).to_owned());
    let mut names = listed.chain(jobs.iter().filter_map(name_of));
    names.find(|name| name.to_lowercase() == DEFAULT).unwrap_or_else(|| DEFAULT.to_owned())
}

fn name_of(job: &Config) -> Option<String> {
    job.get("stage").and_then(Json::as_str).map(str::to_owned)
}

fn stage_name(stage: &Json) -> &str {
    stage.get("name").and_then(Json::as_str).unwrap_or_default()
}
