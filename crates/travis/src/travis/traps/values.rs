//! Traps about missing keys, and about values that are read in another way elsewhere.

use serde_json::Value as Json;

use super::Trap;
use super::commands;
use crate::domain::{PHASES, Rule, Severity};
use crate::travis::matrix::Config;
use crate::yaml::{Data, Node};

/// Returns a trap for a job that has nothing to run: its language has no default, or a default that fails.
pub(super) fn missing_script(root: &Node, jobs: &[Config]) -> Option<Trap> {
    let language = |job: &Config| job.get("language").and_then(Json::as_str).map(str::to_owned);
    let (job, language) = jobs.iter().find_map(|job| {
        let language = language(job)?;
        let runs = |phase: &str| job.contains_key(phase);
        let is_empty = match language.as_str() {
            "python" => !runs("script"),
            "generic" | "shell" => !PHASES.into_iter().any(runs) && !runs("deploy"),
            _ => false,
        };
        is_empty.then_some((job, language))
    })?;
    let name = job.get("name").and_then(Json::as_str).map(|name| format!(" `{name}`")).unwrap_or_default();
    let what = match language.as_str() {
        "python" => "and Python has no command for it, so the job fails",
        _ => "and nothing else to run, so the job passes without a test",
    };
    let message = format!("the job{name} has no `script`, {what}: add `script` with the commands to run");
    let at = root.get("language").map_or(root.at, |entry| entry.at);
    Some(Trap { severity: Severity::Warning, rule: Rule::MissingScript, message, at, key: "script".to_owned() })
}

/// Returns a trap for each version of Python that is another number to most readers of YAML: `3.10` is 3.1.
pub(super) fn number_that_is_cut(root: &Node) -> Vec<Trap> {
    let values = std::iter::once(root).chain(commands::included(root)).filter_map(|map| map.get("python"));
    let values = values.flat_map(|entry| match &entry.value.data {
        Data::Seq(items) => items.as_slice(),
        _ => std::slice::from_ref(&entry.value),
    });
    let cut = values.filter_map(|value| match &value.data {
        Data::Scalar { text, plain: true } => Some((value.at, text, cut(text)?)),
        _ => None,
    });
    let traps = cut.map(|(at, text, number)| {
        let message = format!(
            "without quotes, `{text}` is the number {number} to other readers of YAML; it is read as \"{text}\" here and \
             on Travis. To be safe, write \"{text}\" with quotes"
        );
        Trap { severity: Severity::Info, rule: Rule::NumberLosesZero, message, at, key: "python".to_owned() }
    });
    let mut traps: Vec<Trap> = traps.collect();
    traps.dedup();
    traps
}

/// Returns the number without the zeros at its end, if it has such zeros after other digits behind the point.
fn cut(text: &str) -> Option<&str> {
    let (whole, fraction) = text.split_once('.')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let short = fraction.trim_end_matches('0');
    let is_cut = digits(whole) && digits(fraction) && !short.is_empty() && short != fraction;
    is_cut.then(|| &text[..whole.len() + 1 + short.len()])
}
