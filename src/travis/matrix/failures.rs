//! Which jobs are allowed to fail (travis-yml configs/allow_failures.rb).

use serde_json::{Value as Json, json};

use super::expand::{entries, matches};
use super::{Config, MAX_ENTRIES, Notes, env, facts};
use crate::travis::normal::Code;

/// Marks the jobs that an entry of `jobs.allow_failures` names.
pub fn mark(config: &Config, jobs: Vec<Config>, data: &Json, notes: &mut Notes) -> Vec<Config> {
    let entries = notes.bounded(entries(config, "allow_failures"), MAX_ENTRIES);
    let globals = env::global(config);
    let mark = |mut job: Config| {
        let facts = facts(&job, &env::of_job(&job), data);
        let named = entries.iter().enumerate().any(|(index, entry)| {
            let number = index + 1;
            if !notes.holds(entry, &facts) {
                let args = json!({"condition": entry.get("if")});
                notes.add(Code::SkipAllowFailure, "jobs.allow_failures", number, args);
                return false;
            }
            names(entry, &job, &globals, data)
        });
        if named {
            job.insert("allow_failure".to_owned(), Json::Bool(true));
        }
        job
    };
    jobs.into_iter().map(mark).collect()
}

fn names(entry: &Config, job: &Config, globals: &[Json], data: &Json) -> bool {
    entry.iter().filter(|(key, _)| *key != "if").all(|(key, value)| match key.as_str() {
        // Deprecated: the branch of the build, which is no key of jobs.
        "branch" => data.get("branch") == Some(value),
        "stage" => job.get(key) == Some(value),
        _ => matches(key, value, job, globals),
    })
}
