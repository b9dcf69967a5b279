//! The description as its page shows it.

use serde_json::Value;

use super::referenced;
use crate::web::show::Prose;

/// Operations by group, and the types of their answers.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) groups: Vec<Group>,
    pub(super) types: Vec<Type>,
}

/// Operations that belong together.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) description: Prose,
    pub(super) operations: Vec<Operation>,
}

/// A method of a path.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) id: String,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) summary: Prose,
    pub(super) description: Vec<Prose>,
    pub(super) need: String,
    pub(super) parameters: Vec<Parameter>,
    pub(super) body: Option<Shape>,
    pub(super) answers: Vec<Answer>,
    pub(super) curl: String,
    /// True for a read that a page can show as a whole.
    pub(super) is_triable: bool,
}

#[derive(Debug)]
pub(super) struct Parameter {
    pub(super) name: String,
    /// `path`, `query` or `header`.
    pub(super) place: String,
    pub(super) shape: Shape,
    pub(super) description: Prose,
    pub(super) is_required: bool,
}

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: String,
    pub(super) description: Prose,
    pub(super) shape: Option<Shape>,
    pub(super) is_error: bool,
}

/// A type in words, with the name of the schema that says more.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) words: String,
    pub(super) link: Option<String>,
}

/// A schema with a name.
#[derive(Debug)]
pub(super) struct Type {
    pub(super) name: String,
    pub(super) description: Prose,
    pub(super) fields: Vec<Field>,
    /// The words for a type without fields.
    pub(super) words: String,
}

#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) shape: Shape,
    pub(super) description: Prose,
}

impl Shown {
    pub(super) fn of(document: &Value) -> Self {
        let groups = items(&document["tags"]).map(|tag| group(document, tag)).collect();
        let schemas = document["components"]["schemas"].as_object();
        let mut types: Vec<Type> =
            schemas.into_iter().flatten().map(|(name, schema)| named(document, name, schema)).collect();
        types.sort_by(|a, b| a.name.cmp(&b.name));
        Self { groups, types }
    }
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn paragraphs(value: &Value) -> Vec<Prose> {
    let text = value.as_str().unwrap_or_default();
    text.split("\n\n").filter(|it| !it.is_empty()).map(|it| Prose(it.to_owned())).collect()
}

fn prose(value: &Value) -> Prose {
    Prose(text(value))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn group(document: &Value, tag: &Value) -> Group {
    let paths = document["paths"].as_object().into_iter().flatten();
    let of_path = |(path, methods): (&String, &Value)| -> Vec<Operation> {
        let methods = methods.as_object().into_iter().flatten();
        let own = methods.filter(|(_, operation)| operation["tags"][0] == tag["name"]);
        own.map(|(method, it)| operation(document, method, path, it)).collect()
    };
    Group {
        name: text(&tag["name"]),
        description: prose(&tag["description"]),
        operations: paths.flat_map(of_path).collect(),
    }
}

fn operation(document: &Value, method: &str, path: &str, operation: &Value) -> Operation {
    let parameters: Vec<Parameter> = items(&operation["parameters"])
        .map(|parameter| Parameter {
            name: text(&parameter["name"]),
            place: text(&parameter["in"]),
            shape: shape(&parameter["schema"]),
            description: prose(&parameter["description"]),
            is_required: parameter["required"] == true,
        })
        .collect();
    let body = &operation["requestBody"]["content"]["application/json"]["schema"];
    let answers = operation["responses"].as_object().into_iter().flatten().map(|(status, answer)| {
        let content = answer["content"].as_object().and_then(|content| content.iter().next());
        Answer {
            status: status.clone(),
            description: prose(&answer["description"]),
            shape: content.map(|(media, content)| match media.as_str() {
                "application/json" | "application/problem+json" => shape(&content["schema"]),
                media => Shape { words: media.to_owned(), link: None },
            }),
            is_error: !status.starts_with(['2', '3']),
        }
    });
    let mut answers: Vec<Answer> = answers.collect();
    answers.sort_by(|a, b| a.status.cmp(&b.status));
    let is_stream = operation["responses"]["200"]["content"]["text/event-stream"].is_object();
    let is_file = operation["responses"]["200"]["content"]["application/octet-stream"].is_object();
    Operation {
        id: text(&operation["operationId"]),
        method: method.to_ascii_uppercase(),
        path: path.to_owned(),
        summary: prose(&operation["summary"]),
        description: paragraphs(&operation["description"]),
        need: text(&operation["x-need"]),
        curl: curl(document, method, path, operation),
        body: (!body.is_null()).then(|| shape(body)),
        parameters,
        answers,
        is_triable: method == "get" && !is_stream && !is_file,
    }
}

/// Returns a command that sends the request.
fn curl(document: &Value, method: &str, path: &str, operation: &Value) -> String {
    let base = document["servers"][0]["url"].as_str().unwrap_or_default();
    let is_stream = operation["responses"]["200"]["content"]["text/event-stream"].is_object();
    let mut command = String::from("curl");
    if is_stream {
        command.push_str(" -N");
    }
    if method != "get" {
        command.push_str(&format!(" -X {}", method.to_ascii_uppercase()));
    }
    command.push_str(" -H \"Authorization: Bearer $TOKEN\"");
    if operation["requestBody"].is_object() {
        let example = match operation["operationId"].as_str() {
            Some("setCron") => r#"{"interval": "daily"}"#,
            Some("makeToken") => r#"{"name": "laptop", "scope": "read", "days": 90}"#,
            _ => r#"{"branch": "main"}"#,
        };
        command.push_str(&format!(" -d '{example}'"));
    }
    let filled = path
        .replace("{owner}", "acme")
        .replace("{repo}", "styles")
        .replace("{branch}", "main")
        .replace("{path}", "out/lora.safetensors")
        .replace("{number}", "12");
    let filled = ["{job}", "{token}", "{id}", "{request}"].iter().fold(filled, |path, name| path.replace(name, "1"));
    command.push_str(&format!(" {base}{filled}"));
    command
}

/// Returns the words for a schema.
fn shape(schema: &Value) -> Shape {
    if let Some(name) = referenced(schema) {
        return Shape { words: name.to_owned(), link: Some(name.to_owned()) };
    }
    if schema["type"] == "array" {
        let Shape { words, link } = shape(&schema["items"]);
        return Shape { words: format!("list of {words}"), link };
    }
    let choices = ["oneOf", "anyOf"].iter().find_map(|name| schema[name].as_array());
    if let Some(choices) = choices {
        let shapes: Vec<Shape> = choices.iter().map(shape).collect();
        let words: Vec<&str> = shapes.iter().map(|shape| shape.words.as_str()).collect();
        return Shape { words: words.join(" or "), link: shapes.iter().find_map(|shape| shape.link.clone()) };
    }
    let words: Vec<String> =
        items(&schema["enum"]).map(|word| format!("\"{}\"", word.as_str().unwrap_or_default())).collect();
    if !words.is_empty() {
        return Shape { words: words.join(", "), link: None };
    }
    if let Some(values) = schema.get("additionalProperties").filter(|values| values.is_object()) {
        let Shape { words, link } = shape(values);
        return Shape { words: format!("map of {words}"), link };
    }
    let words = match &schema["type"] {
        Value::String(one) => one.clone(),
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
        _ => "any".to_owned(),
    };
    let is_time = schema["format"] == "date-time";
    Shape { words: if is_time { "date-time".to_owned() } else { words }, link: None }
}

fn named(document: &Value, name: &str, schema: &Value) -> Type {
    let mut fields = Vec::new();
    collect(document, schema, &mut fields);
    Type { name: name.to_owned(), description: prose(&schema["description"]), fields, words: shape(schema).words }
}

/// Collects the fields of a schema and of those that it contains.
fn collect(document: &Value, schema: &Value, fields: &mut Vec<Field>) {
    for part in items(&schema["allOf"]) {
        let part = referenced(part).map_or(part, |name| &document["components"]["schemas"][name]);
        collect(document, part, fields);
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        fields.push(Field { name: name.clone(), shape: shape(field), description: prose(&field["description"]) });
    }
}
