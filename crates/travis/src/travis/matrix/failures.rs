//! Jobs that are allowed to fail (travis-yml configs/allow_failures.rb).

use std::collections::HashSet;

use serde_json::{Value as Json, json};

use super::expand::{Beside, entries};
use super::{Config, MAX_PAIRS, Notes, env, facts};
use crate::travis::normal::Code;

/// Marks the jobs that an entry of `jobs.allow_failures` names.
pub fn mark(config: &Config, jobs: Vec<Config>, data: &Json, notes: &mut Notes) -> Vec<Config> {
    let entries = notes.bounded(entries(config, "allow_failures"), MAX_PAIRS / jobs.len().max(1));
    if entries.is_empty() {
        return jobs;
    }
    let globals = env::global(config);
    let globals: HashSet<&Json> = globals.iter().collect();
    let entries: Vec<Beside<'_>> = entries.iter().map(|entry| Beside::new(entry, &globals)).collect();
    let mark = |mut job: Config| {
        let of_job = Beside::new(&job, &globals);
        let named = entries.iter().enumerate().any(|(index, entry)| {
            if !notes.holds(entry.config, || facts(&job, &env::of_job(&job), data)) {
                let args = json!({"condition": entry.config.get("if")});
                notes.add(Code::SkipAllowFailure, "jobs.allow_failures", index + 1, args);
                return false;
            }
            names(entry, &of_job, data)
        });
        if named {
            job.insert("allow_failure".to_owned(), Json::Bool(true));
        }
        job
    };
    jobs.into_iter().map(mark).collect()
}

fn names(entry: &Beside<'_>, job: &Beside<'_>, data: &Json) -> bool {
    entry.config.iter().filter(|(key, _)| *key != "if").all(|(key, value)| match key.as_str() {
        // Deprecated: the branch of the build, which is not a key of jobs.
        "branch" => data.get("branch") == Some(value),
        "stage" => job.config.get(key) == Some(value),
        _ => entry.matches(key, job),
    })
}
