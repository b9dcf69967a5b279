//! Formats of problems for other programs.

use serde_json::{Value, json};

use super::rules::Explanation;
use super::scope::Checked;
use crate::domain::{Problem, Rule, Severity};

/// Builds a log in SARIF 2.1.0.
pub(super) fn sarif(checked: &[Checked]) -> Value {
    let problems = || checked.iter().flat_map(|file| file.problems.iter().map(move |problem| (file, problem)));
    let mut rules: Vec<Rule> = problems().filter_map(|(_, problem)| Rule::named(&problem.rule)).collect();
    rules.sort_unstable_by_key(|rule| rule.name());
    rules.dedup();
    let rules: Vec<Value> = rules.into_iter().map(rule).collect();
    let results: Vec<Value> = problems().map(|(file, problem)| result(file, problem)).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {"name": "trainyard", "version": env!("CARGO_PKG_VERSION"), "rules": rules}},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn rule(rule: Rule) -> Value {
    let Explanation { summary, text, .. } = Explanation::of(rule);
    let summary = summary.replace('\n', " ");
    json!({
        "id": rule.name(),
        "shortDescription": {"text": summary},
        "help": {"text": format!("{summary}\n\n{text}"), "markdown": format!("{summary}\n\n{text}")},
    })
}

fn result(file: &Checked, problem: &Problem) -> Value {
    let level = match problem.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "note",
    };
    let artifact = json!({"uri": uri(problem.file.as_deref().unwrap_or_default())});
    let mut place = json!({"artifactLocation": artifact});
    if let Some(line) = problem.line {
        place["region"] = json!({"startLine": line, "startColumn": problem.column.unwrap_or(1)});
    }
    let mut result = json!({
        "ruleId": problem.rule,
        "level": level,
        "message": {"text": problem.message},
        "locations": [{"physicalLocation": place}],
    });
    if let Some(fix) = &problem.fix {
        let (start, end) = (position(&file.text, fix.start), position(&file.text, fix.end));
        let region = json!({"startLine": start.0, "startColumn": start.1, "endLine": end.0, "endColumn": end.1});
        let replacement = json!({"deletedRegion": region, "insertedContent": {"text": fix.replacement}});
        result["fixes"] = json!([{
            "description": {"text": problem.message},
            "artifactChanges": [{"artifactLocation": artifact, "replacements": [replacement]}],
        }]);
    }
    result
}

/// Returns the line and the column of a byte, from 1.
fn position(text: &[u8], at: usize) -> (usize, usize) {
    let before = String::from_utf8_lossy(text.get(..at).unwrap_or(text));
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count();
    (before.matches('\n').count() + 1, column + 1)
}

/// Encodes a path as a relative URI reference.
fn uri(path: &str) -> String {
    let mut uri = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => uri.push(byte as char),
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri
}

/// Renders GitHub's workflow commands, one per line. Notes are left out: a page shows only a few annotations.
pub(super) fn github(problems: &[&Problem]) -> String {
    let annotation = |problem: &&Problem| {
        let level = match problem.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info => return None,
        };
        let place = [("line", problem.line), ("col", problem.column)];
        let place: String = place.iter().filter_map(|(name, at)| Some(format!("{name}={},", (*at)?))).collect();
        let file = property(problem.file.as_deref().unwrap_or_default());
        let (rule, message) = (property(&problem.rule), data(&problem.message));
        Some(format!("::{level} file={file},{place}title={rule}::{message}\n"))
    };
    problems.iter().filter_map(annotation).collect()
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
