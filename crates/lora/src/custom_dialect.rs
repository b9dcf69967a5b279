//! Custom dialects: a JSON Schema in the repository describes what their configs may contain.
//!
//! The schema comes from the repository, as the configs do, so both are hostile. Before a schema is used, its parts are
//! counted with all references expanded ([`MAX_WEIGHT`]), and its regular expressions ([`MAX_PATTERNS`]). References
//! that would make this endless are refused.

use std::collections::{BTreeSet, HashMap};

use jsonschema::error::ValidationErrorKind;
use jsonschema::paths::{Location, LocationSegment};
use jsonschema::{PatternOptions, Validator};
use serde_json::Value as Json;

use super::read::{Fault, Format};
use super::tree::{Node, Value};
use super::{Finding, OwnDialect, Repository};
use crate::domain::{Rule, Severity};
use crate::yaml::Mark;

/// Maximum number of parts of a schema, with all references expanded, and of all schemas of a commit together.
const MAX_WEIGHT: usize = 10_000;
const MAX_WEIGHT_OF_ALL: usize = 50_000;
/// Maximum number of comparisons of schema parts with values, over all configs of a commit.
const BUDGET: usize = 100_000_000;
/// Maximum number of problems per config.
const MOST: usize = 100;
/// Maximum number of different regular expressions in all schemas of a commit: a compiled one takes up to a megabyte.
const MAX_PATTERNS: usize = 100;
/// Maximum length of a regular expression, and maximum size of its automaton, in bytes.
const MAX_PATTERN: usize = 1 << 10;
const MAX_AUTOMATON: usize = 64 << 10;

/// The custom dialects with their parsed schemas.
#[derive(Debug, Default)]
pub(super) struct OwnDialects {
    schemas: Vec<Schema>,
    left: usize,
}

/// The work that the schemas of a commit may still cause.
#[derive(Debug)]
struct Budget {
    weight: usize,
    patterns: usize,
}

#[derive(Debug)]
struct Schema {
    dialect: OwnDialect,
    validator: Validator,
    json: Json,
    weight: usize,
}

impl OwnDialects {
    /// Reads the schemas, and returns a finding for each one that cannot be used.
    pub(super) fn new(dialects: &[OwnDialect], repository: &Repository<'_>) -> (Self, Vec<Finding>) {
        let (mut schemas, mut findings) = (Vec::new(), Vec::new());
        let mut budget = Budget { weight: MAX_WEIGHT_OF_ALL, patterns: MAX_PATTERNS };
        for dialect in dialects {
            match Schema::read(dialect, repository, &mut budget) {
                Ok(schema) => schemas.push(schema),
                Err(why) => {
                    let message = format!("the schema {} cannot be used: {why}", dialect.schema);
                    let key = "lora.dialects".to_owned();
                    findings.push(finding(Rule::LoraSettings, Severity::Error, message, dialect.at, key));
                }
            }
        }
        (Self { schemas, left: BUDGET }, findings)
    }

    /// Checks the file at `path`. Returns `None` if it does not belong to a custom dialect.
    pub(super) fn check(&mut self, path: &str, text: &str) -> Option<Vec<Finding>> {
        let format = Format::of(path)?;
        let schema = self.schemas.iter().find(|schema| schema.dialect.configs.is_match(path))?;
        let source = format.read(text);
        let mut findings: Vec<Finding> = source.faults.into_iter().map(|fault: Fault| fault.into()).collect();
        let Some(root) = source.root else { return Some(findings) };
        let json = root.json();
        let cost = schema.weight.saturating_mul(parts(&json));
        if cost > self.left {
            let message = format!("not checked against {}: too many comparisons for one commit", schema.dialect.schema);
            findings.push(finding(Rule::Schema, Severity::Warning, message, root.at, String::new()));
            return Some(findings);
        }
        self.left -= cost;
        let errors = schema.validator.iter_errors(&json).take(MOST);
        findings.extend(errors.flat_map(|error| schema.findings(&root, &error)));
        findings.truncate(MOST);
        Some(findings)
    }
}

impl Schema {
    fn read(dialect: &OwnDialect, repository: &Repository<'_>, budget: &mut Budget) -> Result<Self, String> {
        let path = dialect.schema.trim_start_matches("./");
        let text =
            repository.text(path).ok_or("there is no such file, or it is not a .json file of at most 256 KiB")?;
        let json: Json = serde_json::from_slice(text).map_err(|error| format!("it is not JSON: {error}"))?;
        let weight = weight(&json)?;
        budget.weight = budget.weight.checked_sub(weight).ok_or_else(|| {
            format!("the schemas have more than {MAX_WEIGHT_OF_ALL} parts together, with all references expanded")
        })?;
        let mut patterns = BTreeSet::new();
        find_patterns(&json, &mut patterns);
        if patterns.iter().any(|pattern| pattern.len() > MAX_PATTERN) {
            return Err(format!("a regular expression is longer than {MAX_PATTERN} bytes"));
        }
        budget.patterns = budget.patterns.checked_sub(patterns.len()).ok_or_else(|| {
            format!("the schemas have more than {MAX_PATTERNS} different regular expressions together")
        })?;
        let patterns = PatternOptions::regex().size_limit(MAX_AUTOMATON).dfa_size_limit(MAX_AUTOMATON);
        let validator = jsonschema::options().with_pattern_options(patterns).offline().build(&json);
        let validator = validator.map_err(|error| format!("it is not a JSON Schema: {}", error.masked()))?;
        Ok(Self { dialect: dialect.clone(), validator, json, weight })
    }

    fn findings(&self, root: &Node, error: &jsonschema::ValidationError<'_>) -> Vec<Finding> {
        let (node, at) = find(root, error.instance_path());
        let key = dotted(error.instance_path());
        let in_schema = &self.dialect.schema;
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } => unexpected
                .iter()
                .map(|name| {
                    let entry = node.entries().iter().find(|entry| entry.key == *name);
                    let advice = match self.meant(error.schema_path(), name) {
                        Some(meant) => format!(": did you mean {meant}?"),
                        None => ": remove it, or add it there".to_owned(),
                    };
                    let message = format!("{name} is not a key in {in_schema}{advice}");
                    let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                    finding(Rule::UnknownKey, Severity::Error, message, entry.map_or(at, |entry| entry.at), key)
                })
                .collect(),
            ValidationErrorKind::Required { property } => {
                let name = property.as_str().unwrap_or_default();
                let message = format!("{name} is missing: {in_schema} requires it");
                vec![finding(Rule::MissingRequired, Severity::Error, message, at, name.to_owned())]
            }
            // The message does not repeat the value: it may be a secret.
            _ => {
                let what = error.masked_with(if key.is_empty() { "the config" } else { &key }).to_string();
                let message = format!("{what} ({in_schema})");
                vec![finding(Rule::Schema, Severity::Error, message, at, key)]
            }
        }
    }

    /// Returns the known key that is nearest to a misspelled one. `place` is the location of `additionalProperties` in
    /// the schema.
    fn meant(&self, place: &Location, name: &str) -> Option<String> {
        let (parent, _) = place.as_str().rsplit_once('/')?;
        let known = self.json.pointer(parent)?.get("properties")?.as_object()?;
        let near = known.keys().take(1000).map(|key| (strsim::osa_distance(name, key), key));
        near.min().filter(|(distance, _)| *distance <= 2 && name.len() > 3).map(|(_, key)| key.clone())
    }
}

fn finding(rule: Rule, severity: Severity, message: String, at: Mark, key: String) -> Finding {
    Finding { key: Some(key), ..Finding::new(rule, severity, message, Some(at)) }
}

/// Returns the node at a place, and the position where its author would look for it: its key, or the item itself in a
/// list.
fn find<'a>(root: &'a Node, place: &Location) -> (&'a Node, Mark) {
    let (mut node, mut at) = (root, root.at);
    for segment in place.iter() {
        let next = match &segment {
            LocationSegment::Property(name) => {
                // If a key appears twice, the last one counts.
                node.entries().iter().rev().find(|entry| entry.key == *name).map(|entry| (&entry.node, entry.at))
            }
            LocationSegment::Index(index) => node.items().get(*index).map(|item| (item, item.at)),
        };
        let Some(found) = next else { break };
        (node, at) = found;
    }
    (node, at)
}

fn dotted(place: &Location) -> String {
    place.as_str().trim_start_matches('/').replace('/', ".").replace("~1", "/").replace("~0", "~")
}

/// Returns the number of values in a tree.
fn parts(json: &Json) -> usize {
    1 + match json {
        Json::Array(items) => items.iter().map(parts).sum(),
        Json::Object(entries) => entries.values().map(parts).sum(),
        _ => 0,
    }
}

/// Collects the texts that a schema may use as regular expressions.
fn find_patterns<'a>(part: &'a Json, patterns: &mut BTreeSet<&'a str>) {
    match part {
        Json::Array(items) => items.iter().for_each(|item| find_patterns(item, patterns)),
        Json::Object(entries) => {
            for (key, value) in entries {
                match (key.as_str(), value) {
                    ("pattern", Json::String(pattern)) => drop(patterns.insert(pattern)),
                    ("patternProperties", Json::Object(of)) => patterns.extend(of.keys().map(String::as_str)),
                    _ => {}
                }
                find_patterns(value, patterns);
            }
        }
        _ => {}
    }
}

/// Returns the number of parts of a schema with all references expanded.
fn weight(schema: &Json) -> Result<usize, String> {
    let mut known = HashMap::new();
    weigh(schema, schema, &mut known, true)
}

fn weigh(
    part: &Json,
    schema: &Json,
    known: &mut HashMap<String, Option<usize>>,
    is_root: bool,
) -> Result<usize, String> {
    let mut weight = 1_usize;
    match part {
        Json::Array(items) => {
            for item in items {
                weight = weight.saturating_add(weigh(item, schema, known, false)?);
            }
        }
        Json::Object(entries) => {
            for (key, value) in entries {
                let more = match (key.as_str(), value) {
                    ("$dynamicRef" | "$recursiveRef", _) => return Err(format!("{key} is not supported here")),
                    ("$id", Json::String(_)) if !is_root => {
                        return Err("$id is supported at the top level only".to_owned());
                    }
                    ("$ref", Json::String(target)) => referred(target, schema, known)?,
                    _ => weigh(value, schema, known, false)?,
                };
                weight = weight.saturating_add(more);
            }
        }
        _ => {}
    }
    if weight > MAX_WEIGHT {
        return Err(format!("it has more than {MAX_WEIGHT} parts with all references expanded"));
    }
    Ok(weight)
}

fn referred(target: &str, schema: &Json, known: &mut HashMap<String, Option<usize>>) -> Result<usize, String> {
    match known.get(target) {
        Some(Some(weight)) => return Ok(*weight),
        Some(None) => return Err(format!("{target} refers to itself, which is not supported here")),
        None => {}
    }
    let place = target.strip_prefix('#').filter(|place| place.starts_with('/'));
    let place = place.ok_or_else(|| format!("$ref {target} leads out of the file, which is not supported here"))?;
    let part = schema.pointer(place).ok_or_else(|| format!("$ref {target} leads nowhere"))?;
    known.insert(target.to_owned(), None);
    let weight = weigh(part, schema, known, false)?;
    known.insert(target.to_owned(), Some(weight));
    Ok(weight)
}

impl Node {
    /// Converts the value to JSON. NaN and infinities, which JSON does not have, become null.
    fn json(&self) -> Json {
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(is) => Json::Bool(*is),
            Value::Number { value, whole: true } if value.abs() < 9e15 => Json::from(*value as i64),
            Value::Number { value, .. } => Json::from(*value),
            Value::Text { text, .. } => Json::from(text.as_str()),
            Value::List(items) => items.iter().map(Self::json).collect(),
            Value::Map(entries) => {
                Json::Object(entries.iter().map(|entry| (entry.key.clone(), entry.node.json())).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Linter, Settings};

    /// Returns the problems of a config whose dialect has this schema: line, rule and message.
    fn check(schema: &str, config: &str) -> Vec<(u32, String, String)> {
        let node = crate::yaml::read("dialects: [{schema: ci/s.json, configs: 'train/*.yaml'}]").unwrap().root.unwrap();
        let (settings, wrong) = Settings::read(&node);
        assert!(wrong.is_empty());
        let repository = Repository::of(["ci/s.json"], [("ci/s.json", schema.as_bytes())]);
        let mut linter = Linter::new(&settings, &repository);
        let mut problems = linter.take_problems(".travis.yml");
        problems.extend(linter.lint("train/a.yaml", config.as_bytes()).map(|it| it.problems).unwrap_or_default());
        problems.into_iter().map(|it| (it.line.unwrap_or(0), it.rule, it.message)).collect()
    }

    const SCHEMA: &str = r##"{
        "type": "object", "required": ["model"], "additionalProperties": false,
        "properties": {
            "model": {"type": "string"}, "steps": {"type": "integer", "minimum": 1},
            "token": {"type": "string", "maxLength": 3},
            "parts": {"type": "array", "items": {"$ref": "#/$defs/part"}}
        },
        "$defs": {"part": {"type": "object", "properties": {"rank": {"enum": [4, 8]}}}}
    }"##;

    #[test]
    fn a_config_is_compared_with_the_schema() {
        let found = check(SCHEMA, "steps: 0\nmodle: x\nparts:\n  - rank: 4\n  - rank: 5\n");
        let lines: Vec<(u32, &str)> = found.iter().map(|(line, rule, _)| (*line, rule.as_str())).collect();
        assert_eq!(lines, [(1, "schema"), (1, "missing-required"), (2, "unknown-key"), (5, "schema")], "{found:?}");
        assert!(found[2].2.contains("modle is not a key in ci/s.json: did you mean model?"), "{found:?}");
        assert_eq!(check(SCHEMA, "model: x\nsteps: 3\n"), []);
    }

    /// Returns a schema with this number of different regular expressions.
    fn of_patterns(count: usize) -> String {
        let patterns: Vec<String> = (0..count).map(|n| format!("{{\"pattern\": \"^x{n}\"}}")).collect();
        format!("{{\"properties\": {{\"model\": {{\"anyOf\": [{}]}}}}}}", patterns.join(","))
    }

    #[test]
    fn a_hundred_regular_expressions_are_used() {
        assert_eq!(check(&of_patterns(MAX_PATTERNS), "model: x99\n"), []);
        let found = check(&of_patterns(MAX_PATTERNS), "model: y\n");
        assert_eq!(found.len(), 1, "{found:?}");
    }

    #[test]
    fn a_value_is_not_repeated() {
        let found = check(SCHEMA, "model: x\ntoken: hunter2\n");
        assert!(found.len() == 1 && !found[0].2.contains("hunter2"), "{found:?}");
    }

    #[test]
    fn schemas_that_would_cost_too_much_are_refused() {
        let doubling: Vec<String> = (0..30)
            .map(|n| {
                format!(
                    "\"d{n}\": {{\"allOf\": [{{\"$ref\": \"#/$defs/d{0}\"}}, {{\"$ref\": \"#/$defs/d{0}\"}}]}}",
                    n + 1
                )
            })
            .collect();
        let doubling = format!("{{\"$ref\": \"#/$defs/d0\", \"$defs\": {{{}, \"d30\": {{}}}}}}", doubling.join(","));
        for (schema, told) in [
            (doubling.as_str(), "more than 10000 parts"),
            (r##"{"$ref": "#"}"##, "leads out of the file"),
            (r##"{"$ref": "#/$defs/a", "$defs": {"a": {"not": {"$ref": "#/$defs/a"}}}}"##, "refers to itself"),
            (r#"{"$ref": "https://example.org/x.json"}"#, "leads out of the file"),
            (r#"{"$dynamicRef": "x"}"#, "$dynamicRef is not supported"),
            (r#"{"type": 5}"#, "it is not a JSON Schema"),
            ("{", "it is not JSON"),
            (&format!(r#"{{"pattern": "{}"}}"#, "a".repeat(MAX_PATTERN + 1)), "longer than 1024 bytes"),
            (r#"{"patternProperties": {"(\\p{L}{9}){9}": true}}"#, "it is not a JSON Schema"),
            (&of_patterns(MAX_PATTERNS + 1), "more than 100 different regular expressions"),
        ] {
            let found = check(schema, "model: x\n");
            assert!(found.len() == 1 && found[0].2.contains(told), "{schema:.60}: {found:?}");
        }
    }
}
