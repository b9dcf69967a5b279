//! Keys of a config that a command gives behind the config's path.

use super::parse::Parsed;
use super::shell::Argument;
use crate::Finding;
use crate::domain::{Rule, Severity};
use crate::read::Format;
use crate::tree::{Entry, Node, Value};
use crate::yaml::Mark;

/// Reads `key=value` as OmegaConf does.
pub(super) fn keys(trainer: &str, arguments: &[Argument]) -> Parsed {
    let mut parsed = Parsed::default();
    for argument in arguments {
        let Some((key, value)) = argument.text.split_once('=') else {
            if let Some(name) = argument.known().and_then(|text| text.strip_prefix("--")) {
                let message = format!(
                    "{trainer} takes key=value after a config, and stops at --{name}: write {}=…",
                    name.replace('-', "_")
                );
                let (at, key) = (Some(argument.at), Some(name.to_owned()));
                parsed.findings.push(Finding {
                    rule: Rule::UnknownKey,
                    severity: Severity::Error,
                    message,
                    at,
                    key,
                    mend: None,
                });
                break;
            }
            parsed.is_open |= !argument.is_whole;
            continue;
        };
        if key.starts_with('-') {
            let name = key.trim_start_matches('-').replace('-', "_");
            let message = format!("{trainer} takes key=value after a config, and stops at {key}: write {name}=…");
            let (rule, severity) = (Rule::UnknownKey, Severity::Error);
            parsed.findings.push(Finding {
                rule,
                severity,
                message,
                at: Some(argument.at),
                key: Some(name),
                mend: None,
            });
            continue;
        }
        add(&mut parsed, key, value, argument);
    }
    parsed
}

/// Reads `--key=value`, `--key value` and `--key` as fire does.
pub(super) fn keys_with_dashes(arguments: &[Argument]) -> Parsed {
    let mut parsed = Parsed::default();
    let mut rest = arguments;
    while let Some((argument, more)) = rest.split_first() {
        rest = more;
        let Some(name) = argument.text.strip_prefix("--") else {
            parsed.is_open |= !argument.is_whole;
            if argument.is_whole {
                parsed.positional.push(argument.clone());
            }
            continue;
        };
        if let Some((name, value)) = name.split_once('=') {
            add(&mut parsed, &name.replace('-', "_"), value, argument);
            continue;
        }
        let name = name.replace('-', "_");
        match more.split_first().filter(|(value, _)| !value.text.starts_with("--")) {
            Some((value, more)) => {
                add(&mut parsed, &name, &value.text, value);
                rest = more;
            }
            None => add(&mut parsed, &name, "true", argument),
        }
    }
    parsed
}

fn add(parsed: &mut Parsed, key: &str, value: &str, argument: &Argument) {
    // A dotted key is one of a map in the config.
    if !argument.is_whole || key.contains(['.', '[']) {
        return parsed.unknown.push(key.split(['.', '[']).next().unwrap_or(key).to_owned());
    }
    let text = Node { value: Value::Text { text: value.to_owned(), plain: true }, at: argument.at };
    parsed.entries.retain(|entry| entry.key != key);
    parsed.entries.push(Entry { key: key.to_owned(), at: argument.at, node: literal(&text) });
}

/// Returns the value that a text stands for.
pub(super) fn literal(node: &Node) -> Node {
    let Some(text) = node.text() else { return node.clone() };
    let value = match text {
        "true" | "True" => Value::Bool(true),
        "false" | "False" => Value::Bool(false),
        "null" | "None" | "" => Value::Null,
        _ => match text.parse::<f64>() {
            Ok(value) => Value::Number { value, whole: !text.contains(['.', 'e', 'E', 'n']) },
            Err(_) if text.starts_with(['[', '{']) => {
                Format::Yaml.read(text).root.map_or(Value::Null, |root| root.value)
            }
            Err(_) => Value::Text { text: text.to_owned(), plain: false },
        },
    };
    let mut literal = Node { value, at: node.at };
    place_below(&mut literal, node.at);
    literal
}

fn place_below(node: &mut Node, at: Mark) {
    node.at = at;
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| place_below(item, at)),
        Value::Map(entries) => entries.iter_mut().for_each(|entry| {
            entry.at = at;
            place_below(&mut entry.node, at);
        }),
        Value::Null | Value::Bool(_) | Value::Number { .. } | Value::Text { .. } => {}
    }
}
