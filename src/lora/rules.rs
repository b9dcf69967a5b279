//! The rules, one function each, and their table.

use super::{Dialect, Finding};
use crate::domain::Severity;
use crate::yaml::{Document, Duplicate, Entry, Node};

/// What a rule looks at.
struct Config<'a> {
    document: &'a Document,
    root: &'a Node,
    dialect: Dialect,
}

type Rule = fn(&Config<'_>) -> Vec<Finding>;

const RULES: [Rule; 4] = [duplicate_key, missing_required, conflicting_keys, unknown_key];

/// What a config's author must give, and how to say it. The duration is a rule of its own.
const REQUIRED: [(&str, &str); 3] = [
    ("base_model", "name the base model file or Hub id to train on"),
    ("train_data_dir", "name the folder with the training data"),
    ("output_dir", "name the folder for the trained weights"),
];

/// All findings in a config.
pub fn check(document: &Document, root: &Node) -> Vec<Finding> {
    let Some(dialect) = Dialect::of(root) else {
        return Vec::new();
    };
    let config = Config { document, root, dialect };
    RULES.iter().flat_map(|rule| rule(&config)).collect()
}

/// The most findings that a rule tells of in one file, and the most keys that it compares with all known ones.
const MAX_FINDINGS: usize = 100;

/// PyYAML takes the last of two keys without a word.
fn duplicate_key(config: &Config<'_>) -> Vec<Finding> {
    let find = |duplicate: &Duplicate| Finding {
        rule: "duplicate-key",
        severity: Severity::Error,
        message: format!("{} is there twice and only the last one counts: remove one", duplicate.key),
        at: Some(duplicate.at),
        key: Some(duplicate.key.clone()),
    };
    config.document.duplicates.iter().take(MAX_FINDINGS).map(find).collect()
}

fn missing_required(config: &Config<'_>) -> Vec<Finding> {
    let missing = |severity: Severity, key: &str, message: String| {
        let written = config.root.get(key).map(|entry| entry.at);
        Finding {
            rule: "missing-required",
            severity,
            message,
            at: Some(written.unwrap_or(config.root.at)),
            key: Some(key.to_owned()),
        }
    };
    let is_given =
        |key: &str| config.root.get(key).is_some_and(|entry| !entry.value.is_null() && entry.value.text() != Some(""));
    let mut findings: Vec<Finding> = Vec::new();
    for (key, what) in REQUIRED {
        // A misspelled key is told of once, by its own rule.
        if !is_given(key) && !is_misspelled(config, key) {
            findings.push(missing(Severity::Error, key, format!("{key} is missing: {what}")));
        }
    }
    let durations = ["epochs", "max_train_steps"];
    if !durations.iter().any(|key| is_given(key) || is_misspelled(config, key)) {
        let message = "epochs is missing: say how long to train, with epochs or max_train_steps".to_owned();
        // Only a warning: some trainers have a default, and published examples rely on it.
        findings.push(missing(Severity::Warning, "epochs", message));
    }
    findings
}

fn conflicting_keys(config: &Config<'_>) -> Vec<Finding> {
    let (Some(_), Some(steps)) = (config.root.get("epochs"), config.root.get("max_train_steps")) else {
        return Vec::new();
    };
    vec![Finding {
        rule: "conflicting-keys",
        severity: Severity::Error,
        message: "epochs and max_train_steps are both given: keep one of them".to_owned(),
        at: Some(steps.at),
        key: Some("max_train_steps".to_owned()),
    }]
}

/// The trainer ignores keys that it does not know, so a misspelled one trains with a default.
fn unknown_key(config: &Config<'_>) -> Vec<Finding> {
    let known = config.dialect.keys();
    let unknown = unknown(config);
    let find = |entry: &Entry| {
        let key = &entry.key;
        let (severity, message) = match meant(key, known) {
            Some(meant) => {
                (Severity::Error, format!("{key} is not a key of this trainer and is ignored: did you mean {meant}?"))
            }
            None => (Severity::Warning, format!("{key} is not a key of this trainer that is known here")),
        };
        Finding { rule: "unknown-key", severity, message, at: Some(entry.at), key: Some(key.clone()) }
    };
    unknown.map(find).collect()
}

fn is_misspelled(config: &Config<'_>, key: &str) -> bool {
    unknown(config).any(|entry| meant(&entry.key, config.dialect.keys()) == Some(key))
}

fn unknown<'a>(config: &Config<'a>) -> impl Iterator<Item = &'a Entry> {
    let known = config.dialect.keys();
    let entries = config.root.entries().iter();
    entries.filter(|entry| !known.contains(&entry.key.as_str())).take(MAX_FINDINGS)
}

/// The known key that a misspelled one stands for: the same in snake case, or one to two letters away.
fn meant<'a>(key: &str, known: &[&'a str]) -> Option<&'a str> {
    if key.len() > 60 {
        return None;
    }
    let snake = snake_case(key);
    let far = if snake.len() < 6 { 1 } else { 2 };
    let nearest = known.iter().map(|word| (strsim::osa_distance(&snake, word), *word)).min_by_key(|(d, _)| *d);
    nearest.filter(|(distance, _)| *distance <= far).map(|(_, word)| word)
}

fn snake_case(key: &str) -> String {
    let mut snake = String::with_capacity(key.len() + 4);
    for c in key.chars() {
        if c.is_uppercase() && !snake.is_empty() && !snake.ends_with('_') {
            snake.push('_');
        }
        snake.extend(if c == '-' { '_' } else { c }.to_lowercase());
    }
    snake
}
