//! The part of the description that the table of routes knows.

use axum::http::Method;
use serde_json::{Map, Value, json};

use crate::domain::Right;
use crate::web::access::{Need, Of};

/// A route of the table.
#[derive(Debug, Clone)]
pub(in crate::web) struct Documented {
    pub(in crate::web) method: Method,
    pub(in crate::web) path: String,
    pub(in crate::web) need: Need,
    /// True if a POST takes an idempotency key.
    pub(in crate::web) takes_keys: bool,
}

/// Adds to the operations what holds for them as routes.
pub(super) fn complete(document: &mut Value, routes: &[Documented], public_url: &str) {
    document["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    document["info"]["license"] = json!({"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"});
    document["servers"] = json!([{ "url": public_url }]);
    document["components"]["securitySchemes"] = json!({
        "token": {"type": "http", "scheme": "bearer",
            "description": "A token of `/settings/tokens`, or of `[auth]` in the server's configuration"},
        "session": {"type": "apiKey", "in": "cookie", "name": "__Host-trainyard",
            "description": "The login of a browser. Changes need the text of the session in the header `X-CSRF-Token`, too."},
    });
    for route in routes {
        let path = route.path.replace("{*", "{");
        let operation = &mut document["paths"][&path][route.method.as_str().to_ascii_lowercase()];
        // A route without an operation fails a test.
        if let Some(operation) = operation.as_object_mut() {
            complete_operation(operation, route, &path);
        }
    }
}

fn complete_operation(operation: &mut Map<String, Value>, route: &Documented, path: &str) {
    let is_json_read =
        route.method == Method::GET && operation["responses"]["200"]["content"]["application/json"].is_object();
    let takes_key = route.method == Method::POST && route.takes_keys;
    let mut parameters: Vec<Value> = names(path).map(|name| path_parameter(path, name)).collect();
    if let Some(Value::Array(own)) = operation.remove("parameters") {
        parameters.extend(own);
    }
    if is_json_read {
        parameters.push(header("If-None-Match", "Tag of an answer that you have. The same answer is not sent again."));
    }
    if takes_key {
        let text = "Text that you choose for this request. Sent again within a day with the same text and body, it is not \
            carried out again, and gets the same answer.";
        let mut key = header("Idempotency-Key", text);
        key["schema"] = json!({"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"});
        parameters.push(key);
    }
    let has_query = parameters.iter().any(|parameter| parameter["in"] == "query");
    let has_body = operation.contains_key("requestBody");
    operation.insert("parameters".to_owned(), parameters.into());
    operation.insert("security".to_owned(), security(route.need));
    operation.insert("x-need".to_owned(), in_words(route.need).into());
    let answers = operation.entry("responses").or_insert_with(|| json!({}));
    for (status, answer) in answers.as_object_mut().into_iter().flatten() {
        if status.starts_with(['4', '5']) {
            *answer = problem(answer["description"].as_str().unwrap_or_default());
        }
    }
    let mut add = |is_there: bool, status: &str, text: &str| {
        if is_there && answers[status].is_null() {
            answers[status] = problem(text);
        }
    };
    let is_change = route.method != Method::GET;
    let is_restricted = !matches!(route.need, Need::Anyone | Need::Known | Need::Right(Right::Read, _));
    add(has_query || has_body || takes_key, "400", "The request is malformed");
    add(true, "401", "The token is missing, or is not good");
    add(is_change || is_restricted, "403", "A right is missing, or the request comes from another site");
    add(path.contains('{'), "404", "There is no such thing, or you may not know of it");
    add(has_body || takes_key, "408", "The body came too slowly");
    add(takes_key, "409", "The state does not allow this, or the first request with this key is in progress");
    add(has_body || takes_key, "413", "The body is too large");
    add(takes_key, "422", "The idempotency key was sent with another body");
    add(true, "429", "There were too many requests of yours");
    add(true, "500", "An error of the service");
    add(true, "503", "The service has too much to do, or a part of it does not answer");
    if is_json_read {
        answers["200"]["headers"]["ETag"] = json!({"description": "Tag of the answer", "schema": {"type": "string"}});
        answers["304"] = json!({"description": "You have this answer already"});
        if operation["parameters"].as_array().is_some_and(|all| all.iter().any(|one| one["name"] == "before")) {
            let text = "Address of the next page, with `rel=\"next\"`";
            operation["responses"]["200"]["headers"]["Link"] =
                json!({"description": text, "schema": {"type": "string"}});
        }
    }
}

fn problem(text: &str) -> Value {
    let schema = json!({"$ref": "#/components/schemas/ProblemDetails"});
    json!({"description": text, "content": {"application/problem+json": {"schema": schema}}})
}

fn header(name: &str, text: &str) -> Value {
    json!({"name": name, "in": "header", "description": text, "required": false, "schema": {"type": "string"}})
}

/// Lists the names in the braces of a path.
fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('{').skip(1).filter_map(|rest| rest.split('}').next())
}

fn path_parameter(path: &str, name: &str) -> Value {
    let text = json!({"type": "string"});
    let number = json!({"type": "integer", "format": "int64", "minimum": 1});
    let (description, schema) = match name {
        "owner" => ("Owner of the repository", text),
        "repo" => ("Name of the repository", text),
        "number" => ("Number of the build within its repository", number),
        "job" => ("Number of the job within its build", number),
        "id" if path.contains("/deliveries/") => ("Id of the delivery", text),
        "id" => ("Id of the job", number),
        "request" => ("Id of the request", text),
        "token" => ("Id of the token", number),
        "branch" => ("Name of the branch", text),
        _ => ("Path of the artifact", text),
    };
    json!({"name": name, "in": "path", "description": description, "required": true, "schema": schema})
}

fn security(need: Need) -> Value {
    match need {
        Need::Nothing | Need::Signature => json!([]),
        Need::Person => json!([{ "session": [] }]),
        Need::Anyone | Need::Right(Right::Read, _) => json!([{}, { "token": [] }, { "session": [] }]),
        _ => json!([{ "token": [] }, { "session": [] }]),
    }
}

/// Returns the need of a route in words.
fn in_words(need: Need) -> String {
    let thing = |of: Of| match of {
        Of::Job => "in the repository of the job",
        Of::Build => "in the repository of the build",
        Of::Repo | Of::Slug => "in the repository",
    };
    match need {
        Need::Nothing | Need::Signature => "nothing".to_owned(),
        Need::Anyone => "nothing; the answer has what you may read".to_owned(),
        Need::Known => "a login or a token".to_owned(),
        Need::Person => "a person in a browser".to_owned(),
        Need::WholePerson => "a person in a browser, or a token for everything of its person".to_owned(),
        Need::Everything => "an operator, or anybody while reading is open".to_owned(),
        Need::Operator => "an operator".to_owned(),
        Need::Right(right, of) => format!("the right {right} {}", thing(of)),
    }
}
