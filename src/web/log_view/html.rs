//! Lines and folds as elements.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::Op;

fn line(out: &mut String, number: u64, content: &str, took: Option<&str>) {
    let took = took.unwrap_or_default();
    out.push_str(&format!(
        "<span class=\"l\" id=\"L{number}\"><a href=\"#L{number}\">{number}</a><code>{content}</code><i>{took}</i></span>\n"
    ));
}

fn fold(out: &mut String, name: &str, number: u64, content: &str, took: Option<&str>, still_open: bool) {
    let attributes = if still_open { " open data-running" } else { "" };
    out.push_str(&format!("<details data-fold=\"{name}\"{attributes}><summary>"));
    line(out, number, content, took);
    out.push_str(&format!("<span class=\"fold\">{name}</span></summary>"));
}

/// A whole log, or its end, as one balanced piece of HTML. Folds that have not ended are unfolded.
pub fn page_html(ops: &[Op]) -> String {
    let mut durations = HashMap::new();
    let mut open = Vec::new();
    for (at, op) in ops.iter().enumerate() {
        match op {
            Op::Took { number, took } => drop(durations.insert(*number, took.as_str())),
            Op::Open { .. } => open.push(at),
            Op::Close => drop(open.pop()),
            Op::Line { .. } => {}
        }
    }
    let took = |number: &u64| durations.get(number).copied();
    let mut out = String::new();
    let mut depth = 0_usize;
    for (at, op) in ops.iter().enumerate() {
        match op {
            Op::Line { number, html } => line(&mut out, *number, html, took(number)),
            Op::Open { name, number, html } => {
                depth += 1;
                fold(&mut out, name, *number, html, took(number), open.binary_search(&at).is_ok());
            }
            // A fold that began before the part of the log that is shown.
            Op::Close if depth == 0 => {}
            Op::Close => {
                depth -= 1;
                out.push_str("</details>\n");
            }
            Op::Took { .. } => {}
        }
    }
    out.push_str(&"</details>".repeat(depth));
    out
}

/// What the script of a page that is open already does with these ops: `["l", html]` appends lines, `["o", html]`
/// appends a fold and goes into it, `["c"]` leaves it, `["t", number, text]` says how long the command on a line took.
pub fn event_html(ops: &[Op]) -> Value {
    let mut steps = Vec::new();
    let mut lines = String::new();
    let flush = |lines: &mut String, steps: &mut Vec<Value>| {
        if !lines.is_empty() {
            steps.push(json!(["l", std::mem::take(lines)]));
        }
    };
    for op in ops {
        if let Op::Line { number, html } = op {
            line(&mut lines, *number, html, None);
            continue;
        }
        flush(&mut lines, &mut steps);
        match op {
            Op::Open { name, number, html } => {
                let mut element = String::new();
                fold(&mut element, name, *number, html, None, true);
                element.push_str("</details>");
                steps.push(json!(["o", element]));
            }
            Op::Close => steps.push(json!(["c"])),
            Op::Took { number, took } => steps.push(json!(["t", number, took])),
            Op::Line { .. } => {}
        }
    }
    flush(&mut lines, &mut steps);
    Value::Array(steps)
}
