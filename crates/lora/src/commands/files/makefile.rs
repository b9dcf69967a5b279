//! The recipes of a Makefile, with the variables that it sets.

use std::collections::HashMap;

use crate::commands::shell::{Command, Script, Syntax, UNKNOWN, Variables, commands};
use crate::yaml::Mark;

/// Maximum number of variables within each other.
const MAX_DEPTH: usize = 8;
/// Maximum length of what a recipe becomes with its variables, in bytes.
const MAX_RECIPE: usize = 64 * 1024;
/// Maximum length of all recipes of a file with their variables, in bytes.
const MAX_TOTAL: usize = 4 << 20;

/// Returns the commands of all recipes. Each line of a recipe has its own shell.
pub(super) fn commands_of(text: &str) -> Vec<Command> {
    let values = variables(text);
    let mut total = 0;
    let mut found = Vec::new();
    let mut lines = (1..).zip(text.lines()).peekable();
    while let Some((number, line)) = lines.next() {
        if !line.starts_with('\t') {
            continue;
        }
        let mut recipe = vec![(number, line)];
        while recipe.last().is_some_and(|(_, line)| line.ends_with('\\'))
            && let Some(next) = lines.next()
        {
            recipe.push(next);
        }
        let script = script(&recipe, &values);
        total += script.len();
        if total > MAX_TOTAL {
            break;
        }
        found.extend(commands(&script, &mut Variables::default()));
    }
    found
}

/// Returns the values of the variables; `None` for those that depend on more than the file.
fn variables(text: &str) -> HashMap<&str, Option<String>> {
    let mut values: HashMap<&str, Option<String>> = HashMap::new();
    let mut depth = 0_usize;
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let word = line.split_whitespace().next().unwrap_or_default();
        match word {
            "ifeq" | "ifneq" | "ifdef" | "ifndef" | "define" => depth += 1,
            "endif" | "endef" => depth = depth.saturating_sub(1),
            _ => {}
        }
        let Some((name, value)) = line.split_once('=').filter(|_| !line.starts_with(['\t', '#'])) else { continue };
        let operator = name.trim_end_matches(['?', ':', '+', '!', ' ']).len();
        let (name, operator) = (name[..operator].trim(), &name[operator..]);
        let name = name.strip_prefix("export ").unwrap_or(name).trim();
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte)) {
            continue;
        }
        let mut value = value.to_owned();
        while value.ends_with('\\') {
            value.pop();
            value.push_str(lines.next().map_or("", str::trim_start));
        }
        let value = value.split(" #").next().unwrap_or_default().trim().to_owned();
        let value = match operator.trim() {
            _ if depth > 0 || operator.contains('!') => None,
            "+" | "?" if operator.contains('+') => match values.get(name) {
                Some(Some(old)) if old.len() + value.len() < MAX_RECIPE => Some(format!("{old} {value}")),
                Some(_) => None,
                None => Some(value),
            },
            _ if operator.contains('?') && values.contains_key(name) => continue,
            _ => Some(value),
        };
        values.insert(name, value);
    }
    values
}

fn script(recipe: &[(u32, &str)], values: &HashMap<&str, Option<String>>) -> Script {
    let mut script = Script::new(Syntax::Posix);
    for (index, (number, line)) in recipe.iter().enumerate() {
        let text = line.strip_prefix('\t').unwrap_or(line);
        let text = if index == 0 { text.trim_start_matches(['@', '-', '+']) } else { text };
        let mut column = (line.len() - text.len()) as u32 + 1;
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            script.push(&rest[..at], *number, column);
            column += rest[..at].chars().count() as u32;
            let mark = Mark { file: 0, line: *number, column };
            let (length, becomes) = reference(&rest[at..], values);
            match becomes {
                Some(text) if script.len() + text.len() < MAX_RECIPE => script.push_at(&text, mark),
                _ => script.push_at(UNKNOWN.encode_utf8(&mut [0; 4]), mark),
            }
            column += rest[at..at + length].chars().count() as u32;
            rest = &rest[at + length..];
        }
        script.push(rest, *number, column);
        script.push("\n", *number, column);
    }
    script
}

/// Returns the length of the reference at the start of the text, and what make puts in its place.
fn reference(text: &str, values: &HashMap<&str, Option<String>>) -> (usize, Option<String>) {
    let after = &text[1..];
    if after.starts_with('$') {
        return (2, Some("$".to_owned()));
    }
    let close = match after.bytes().next() {
        Some(b'(') => ')',
        Some(b'{') => '}',
        _ => return (1 + after.chars().next().map_or(0, char::len_utf8), None),
    };
    let Some(end) = after.find(close) else { return (text.len(), None) };
    let mut budget = MAX_RECIPE;
    (end + 2, expanded(&after[1..end], values, MAX_DEPTH, &mut budget))
}

/// Returns the value of a variable with the variables in it.
fn expanded(name: &str, values: &HashMap<&str, Option<String>>, depth: usize, budget: &mut usize) -> Option<String> {
    let value = values.get(name)?.as_ref().filter(|_| depth > 0)?;
    let mut text = String::new();
    let mut rest = value.as_str();
    while let Some(at) = rest.find('$') {
        text.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let close = match after.bytes().next()? {
            b'(' => ')',
            b'{' => '}',
            _ => return None,
        };
        let end = after.find(close)?;
        text.push_str(&expanded(&after[1..end], values, depth - 1, budget)?);
        rest = &after[end + 1..];
    }
    text.push_str(rest);
    *budget = budget.checked_sub(text.len() + 1)?;
    Some(text)
}
