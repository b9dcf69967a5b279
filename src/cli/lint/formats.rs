//! Formats of problems for other programs.

use serde_json::{Value, json};

use crate::domain::{Problem, Severity};

/// Builds a log in SARIF 2.1.0.
pub(super) fn sarif(problems: &[&Problem]) -> Value {
    let mut rules: Vec<&str> = problems.iter().map(|problem| problem.rule.as_str()).collect();
    rules.sort_unstable();
    rules.dedup();
    let rules: Vec<Value> = rules.iter().map(|rule| json!({ "id": rule })).collect();
    let results: Vec<Value> = problems.iter().map(|problem| result(problem)).collect();
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

fn result(problem: &Problem) -> Value {
    let level = match problem.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "note",
    };
    let mut place = json!({"artifactLocation": {"uri": uri(problem.file.as_deref().unwrap_or_default())}});
    if let Some(line) = problem.line {
        place["region"] = json!({"startLine": line, "startColumn": problem.column.unwrap_or(1)});
    }
    json!({
        "ruleId": problem.rule,
        "level": level,
        "message": {"text": problem.message},
        "locations": [{"physicalLocation": place}],
    })
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
