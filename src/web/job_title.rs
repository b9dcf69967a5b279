//! The titles of a build's jobs: each shows what makes its job different from the others.

use serde_json::Value;

use crate::domain::JobKind;

/// The longest part of a title, in characters. A longer value distinguishes nothing at a glance.
const MAX_PART: usize = 60;
/// The keys of a job's config that its title shows when the matrix varies them.
const VARIED: [&str; 3] = ["os", "dist", "language"];

/// A job as far as its title needs it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Titled<'a> {
    pub kind: JobKind,
    pub name: Option<&'a str>,
    /// Travis's normal form of the job.
    pub config: &'a Value,
}

impl Titled<'_> {
    /// The version of the job's language, as `python 3.11`.
    fn version(&self) -> Option<String> {
        let language = self.config.get("language")?.as_str()?;
        Some(format!("{language} {}", short(self.config.get(language)?)?))
    }

    /// The variables with values in the clear, each as `NAME=value`.
    fn variables(&self) -> Vec<String> {
        let maps = match self.config.get("env") {
            Some(Value::Array(items)) => items.iter().filter_map(Value::as_object).collect(),
            Some(Value::Object(map)) => vec![map],
            _ => Vec::new(),
        };
        let pairs = maps.into_iter().flatten();
        pairs.filter_map(|(name, value)| Some(format!("{name}={}", value.as_str()?))).collect()
    }
}

/// Returns the titles of all jobs of a build, in their order.
pub(super) fn titles(jobs: &[Titled<'_>]) -> Vec<String> {
    jobs.iter().map(|job| title(job, jobs)).collect()
}

fn title(job: &Titled<'_>, all: &[Titled<'_>]) -> String {
    if let Some(name) = job.name.filter(|name| !name.trim().is_empty()) {
        return name.to_owned();
    }
    let peers: Vec<&Titled<'_>> = all.iter().filter(|peer| peer.kind == job.kind).collect();
    let varies = |key: &str| peers.iter().any(|peer| peer.config.get(key) != job.config.get(key));
    let mut parts: Vec<String> =
        VARIED.iter().filter(|key| varies(key)).filter_map(|key| short(job.config.get(*key)?)).collect();
    if let Some(version) =
        job.version().filter(|version| peers.iter().any(|peer| peer.version().as_ref() != Some(version)))
    {
        // The version says the language, too.
        parts.retain(|part| !version.starts_with(&format!("{part} ")));
        parts.push(version);
    }
    let is_shared = |variable: &String| peers.len() > 1 && peers.iter().all(|peer| peer.variables().contains(variable));
    let variables = job.variables().into_iter().filter(|variable| !is_shared(variable));
    parts.extend(variables.filter(|variable| variable.chars().count() <= MAX_PART));
    if !parts.is_empty() {
        return parts.join(" · ");
    }
    let language = || job.config.get("language").and_then(short);
    job.version().or_else(language).unwrap_or_else(|| match job.kind {
        JobKind::Script => "script job".to_owned(),
        JobKind::Smoke => "smoke job".to_owned(),
        JobKind::Train => "train job".to_owned(),
    })
}

/// Describes a value in a few words; returns `None` when that would take more.
fn short(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Array(items) => items.iter().filter_map(short).collect::<Vec<_>>().join(" "),
        Value::Object(_) | Value::Null | Value::Bool(_) => return None,
    };
    (!text.is_empty() && text.chars().count() <= MAX_PART).then_some(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(configs: &[Value]) -> Vec<String> {
        let jobs: Vec<Titled<'_>> =
            configs.iter().map(|config| Titled { kind: JobKind::Script, name: None, config }).collect();
        titles(&jobs)
    }

    #[test]
    fn a_title_shows_what_the_matrix_varies_and_nothing_else() {
        let job = |python: &str, rank: &str| {
            json!({"os": "linux", "dist": "bookworm", "language": "python", "python": python,
                   "env": [{"CI_MODE": "full"}, {"RANK": rank}]})
        };
        assert_eq!(of(&[job("3.11", "8"), job("3.11", "16")]), ["RANK=8", "RANK=16"]);
        assert_eq!(of(&[job("3.11", "8"), job("3.12", "8")]), ["python 3.11", "python 3.12"]);
        assert_eq!(of(&[job("3.11", "8"), job("3.12", "16")]), ["python 3.11 · RANK=8", "python 3.12 · RANK=16"]);
    }

    #[test]
    fn a_system_or_language_is_shown_when_it_varies() {
        let job = |os: &str, language: &str| json!({"os": os, "language": language, "python": "3.11"});
        assert_eq!(of(&[job("linux", "shell"), job("osx", "shell")]), ["linux", "osx"]);
        assert_eq!(of(&[job("linux", "python"), job("linux", "shell")]), ["python 3.11", "shell"]);
    }

    #[test]
    fn a_single_job_shows_its_variables_or_its_version() {
        assert_eq!(of(&[json!({"language": "python", "python": "3.11", "env": [{"A": "1"}]})]), ["A=1"]);
        assert_eq!(of(&[json!({"os": "linux", "language": "python", "python": "3.11"})]), ["python 3.11"]);
        assert_eq!(of(&[json!({"env": [{"KEY": {"secure": "abc"}}]})]), ["script job"]);
        let long = "x".repeat(MAX_PART);
        assert_eq!(of(&[json!({"language": "shell", "env": [{"A": long}]})]), ["shell"]);
    }

    #[test]
    fn a_name_wins() {
        let config = json!({"language": "python"});
        let named = |name| Titled { kind: JobKind::Smoke, name: Some(name), config: &config };
        assert_eq!(titles(&[named("smoke a.yaml"), named(" ")]), ["smoke a.yaml", "python"]);
    }
}
