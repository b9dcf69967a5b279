//! Environments as lists of maps.

use serde_json::Value as Json;

use super::Config;

/// Returns `env.global` of a config.
pub fn global(config: &Config) -> Vec<Json> {
    list(config.get("env").and_then(|env| env.get("global")))
}

/// Returns `env.jobs` of a config.
pub fn jobs(config: &Config) -> Vec<Json> {
    list(config.get("env").and_then(|env| env.get("jobs")))
}

/// Returns all variables that a config names.
pub fn of_config(config: &Config) -> Vec<Json> {
    let mut all = global(config);
    all.extend(jobs(config));
    all
}

/// Returns the environment of a job.
pub fn of_job(job: &Config) -> Vec<Json> {
    list(job.get("env"))
}

fn list(value: Option<&Json>) -> Vec<Json> {
    match value {
        Some(Json::Array(items)) => items.clone(),
        Some(Json::Null) | None => Vec::new(),
        Some(other) => vec![other.clone()],
    }
}
