//! `trainyard condition`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use super::excerpt::pointed_at;
use crate::travis::condition::{self, Data, Error};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The condition, such as 'branch = main AND tag IS blank'.
    #[arg(value_name = "EXPR", allow_hyphen_values = true)]
    condition: String,
    /// A JSON file with the data that the condition reads: {"branch": "main", "type": "push", "env": {"A": "1"}}.
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Print facts as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let variables = match &arguments.data {
        Some(file) => data(file)?,
        None => json!({}),
    };
    let text = &arguments.condition;
    let data = Data { variables: &variables, env: &variables["env"] };
    match condition::parse(text).and_then(|condition| condition.holds(data)) {
        Ok(holds) if arguments.json => super::print(&format!("{}\n", json!({ "result": holds })))?,
        Ok(holds) => super::print(&format!("{holds}\n"))?,
        Err(error) => {
            let (what, at) = explained(&error, text);
            if arguments.json {
                let column = condition::on_one_line(text)[..at].chars().count() + 1;
                super::print(&format!("{}\n", json!({"error": {"message": what, "column": column}})))?;
            } else {
                eprintln!("trainyard: {what}\n{}", pointed_at(&condition::on_one_line(text), at));
            }
            return Ok(super::PROBLEMS);
        }
    }
    // A condition that does not hold is an answer, not a problem.
    Ok(super::FINE)
}

/// Reads the variables in a file, which must hold a map.
fn data(file: &Path) -> anyhow::Result<Value> {
    let name = file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {name}"))?;
    let data: Value = serde_json::from_str(&text).with_context(|| format!("{name} is not JSON"))?;
    const FORM: &str = r#"write {"branch": "main", "type": "push", "env": {"A": "1"}}, for example"#;
    match &data {
        Value::Object(map) => match map.get("env") {
            None | Some(Value::Null | Value::Object(_) | Value::Array(_) | Value::String(_)) => Ok(data),
            Some(other) => {
                bail!("{name}: `env` is {}, but it must be a map of variables, a list or a text: {FORM}", kind(other))
            }
        },
        other => bail!("{name} holds {}, but it must hold a map of variables: {FORM}", kind(other)),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

/// Returns the message for an error, and its place as a byte of the condition on one line.
fn explained(error: &Error, text: &str) -> (String, usize) {
    let line = condition::on_one_line(text);
    let (what, at) = match error {
        Error::Syntax(_) if text.len() > condition::MAX_BYTES => {
            (format!("the condition is longer than {} bytes", condition::MAX_BYTES), line.len())
        }
        Error::Syntax(at) if *at >= line.trim_end().len() => {
            ("the condition ends where something more must come".to_owned(), *at)
        }
        Error::Syntax(at) => ("the condition cannot be read from here on".to_owned(), *at),
        Error::Dollar(at) => {
            ("a text cannot start with a dollar: write env(NAME) for a variable, or quote the text".to_owned(), *at)
        }
        Error::Regex(pattern) => {
            let what = format!("/{pattern}/ is not a valid regular expression, or it takes too long");
            (what, line.find(pattern.as_str()).unwrap_or(0))
        }
    };
    (what, at.min(line.len()))
}
