//! GitHub's published description of its API, for the requests that the stand-in has recorded.

use std::path::Path;

use serde_json::Value;

/// Reads the description from the package that `make setup-test` installs.
pub fn description() -> Value {
    let file = "tests/npm/node_modules/@octokit/openapi/generated/api.github.com.json";
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = std::fs::read(&file).unwrap_or_else(|_| panic!("{} is missing: run `make setup-test`", file.display()));
    serde_json::from_slice(&text).unwrap()
}

/// Returns the reasons why a request is not one of the description.
pub fn faults(api: &Value, method: &str, path: &str, body: &Value) -> Vec<String> {
    let path = path.split('?').next().unwrap();
    let segments: Vec<&str> = path.split('/').collect();
    let fits = |template: &str| {
        let parts: Vec<&str> = template.split('/').collect();
        let is_same = |(part, segment): (&&str, &&str)| part.starts_with('{') || part == segment;
        parts.len() == segments.len() && parts.iter().zip(&segments).all(is_same)
    };
    // A path may fit several templates, of which the one with the fewest variables counts.
    let paths = api["paths"].as_object().unwrap().iter().filter(|(template, _)| fits(template));
    let Some((_, operations)) = paths.min_by_key(|(template, _)| template.matches('{').count()) else {
        return vec![format!("{path} is not in the description")];
    };
    let operation = &operations[method.to_lowercase()];
    if !operation.is_object() {
        return vec![format!("{method} {path} is not in the description")];
    }
    let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
    if schema.is_null() {
        return if body.is_null() { Vec::new() } else { vec![format!("{path} takes no body")] };
    }
    let validator = jsonschema::validator_for(&resolved(api, schema)).unwrap();
    let mut faults: Vec<String> = validator.iter_errors(body).map(|error| error.to_string()).collect();
    let known = schema["properties"].as_object().unwrap();
    let unknown = body.as_object().into_iter().flatten().filter(|(key, _)| !known.contains_key(*key));
    faults.extend(unknown.map(|(key, _)| format!("{path} has no field {key}")));
    faults
}

/// Returns a schema with the parts that it refers to in place of the references.
fn resolved(api: &Value, schema: &Value) -> Value {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = api.pointer(reference.trim_start_matches('#')).unwrap();
        return resolved(api, target);
    }
    match schema {
        Value::Object(entries) => entries.iter().map(|(key, value)| (key.clone(), resolved(api, value))).collect(),
        Value::Array(items) => items.iter().map(|item| resolved(api, item)).collect(),
        other => other.clone(),
    }
}
