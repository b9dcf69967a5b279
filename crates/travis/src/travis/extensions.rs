//! Keys of a job that Travis does not know and that have an effect here.
//!
//! - `image`: the image that the job runs in.
//! - `lost`: what happens to the job when its machine is lost: `retry` (the default) or `fail`.
//! - `preemptible`: whether the job releases its GPUs to a job that waits for them, and begins again later.

use serde_json::Value as Json;

use super::normal::{Code, Message};
use super::traps::Trap;
use crate::domain::{Rule, Severity};
use crate::yaml::{Entry, Node};

const KEYS: [&str; 3] = ["image", "lost", "preemptible"];

/// Returns true for the message that Travis does not know one of these keys, in a place where a job has it.
pub fn is_of_extension(message: &Message) -> bool {
    let of_a_job = matches!(message.key.as_str(), "" | "jobs.include");
    of_a_job && message.code == Code::UnknownKey && message.args["key"].as_str().is_some_and(|key| KEYS.contains(&key))
}

/// Returns true if a job must not begin again by itself when its machine is lost.
pub fn fails_when_lost(config: &Json) -> bool {
    config.get("lost").and_then(Json::as_str) == Some("fail")
}

/// Returns true if a job may be stopped for another one, to begin again later. A job that deploys may not: it may have
/// deployed already.
pub fn is_preemptible(config: &Json) -> bool {
    config.get("preemptible") == Some(&Json::Bool(true)) && config.get("deploy").is_none()
}

/// Reports invalid values of these keys.
pub fn wrong_values(root: &Node) -> Vec<Trap> {
    let jobs = root.get("jobs").or_else(|| root.get("matrix"));
    let include = jobs.and_then(|jobs| jobs.value.get("include")).map(|include| include.value.items());
    let places = std::iter::once(("", root)).chain(include.into_iter().flatten().map(|job| ("jobs.include.", job)));
    places.flat_map(|(place, node)| of_job(node, place, root)).collect()
}

fn of_job(node: &Node, place: &str, root: &Node) -> Vec<Trap> {
    let mut traps = Vec::new();
    let mut tell = |severity, entry: &Entry, message: &str| {
        let key = format!("{place}{}", entry.key);
        traps.push(Trap { severity, rule: Rule::OwnKey, message: message.to_owned(), at: entry.at, key });
    };
    if let Some(lost) = node.get("lost")
        && !matches!(lost.value.text(), Some("retry" | "fail"))
    {
        let message = "`lost` must be `retry` (the default) or `fail`: what happens when the job's machine is lost";
        tell(Severity::Error, lost, message);
    }
    if let Some(preemptible) = node.get("preemptible") {
        match preemptible.value.text() {
            Some("true") if node.get("deploy").or_else(|| root.get("deploy")).is_some() => {
                let message = "`preemptible` has no effect on a job with `deploy`: it could deploy twice; let a job of a \
                               later stage deploy";
                tell(Severity::Warning, preemptible, message);
            }
            Some("true" | "false") => {}
            _ => tell(Severity::Error, preemptible, "`preemptible` must be `true` or `false` (the default)"),
        }
    }
    traps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reports(text: &str) -> Vec<(Severity, String, u32)> {
        let document = crate::travis::normal::read(text).expect("YAML");
        let traps = wrong_values(document.root.as_ref().expect("a root"));
        traps.into_iter().map(|trap| (trap.severity, trap.key, trap.at.line)).collect()
    }

    #[test]
    fn a_value_that_there_is_not_is_told_with_its_place() {
        let text = "script: make\nlost: never\njobs:\n  include:\n    - script: x\n      preemptible: maybe\n    - lost: fail\n";
        let wrong = [(Severity::Error, "lost", 2), (Severity::Error, "jobs.include.preemptible", 6)];
        assert_eq!(reports(text), wrong.map(|(severity, key, line)| (severity, key.to_owned(), line)));
        assert_eq!(reports("script: make\nlost: retry\npreemptible: true\nimage: acme/x\n"), []);
        let twice = reports("preemptible: true\ndeploy: {provider: script, script: x}\n");
        assert_eq!(twice, [(Severity::Warning, "preemptible".to_owned(), 1)]);
    }

    #[test]
    fn a_job_says_what_is_done_with_it() {
        let config = serde_json::json!({"lost": "fail", "preemptible": true});
        assert!(fails_when_lost(&config) && is_preemptible(&config));
        let config = serde_json::json!({"lost": "retry", "preemptible": true, "deploy": [{"provider": "script"}]});
        assert!(!fails_when_lost(&config) && !is_preemptible(&config));
    }
}
