//! Rendering of log lines and folds as HTML.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::screen::Line;
use super::style::Style;
use super::{CUT, Op};
use crate::domain::in_words;

/// Renders the content of a line.
pub fn line_html(line: &Line) -> String {
    let mut html = String::new();
    for (style, text) in line.runs() {
        let styled = style != Style::default();
        if styled {
            // Writing to a String cannot fail.
            let _ = write!(html, "<span class=\"{}\">", style.classes());
        }
        text.for_each(|c| escape(&mut html, c));
        if styled {
            html.push_str("</span>");
        }
    }
    if line.is_cut() {
        let _ = write!(html, "<span class=\"d\">{CUT}</span>");
    }
    html
}

fn escape(html: &mut String, c: char) {
    match c {
        '<' => html.push_str("&lt;"),
        '>' => html.push_str("&gt;"),
        '&' => html.push_str("&amp;"),
        '"' => html.push_str("&quot;"),
        '\'' => html.push_str("&#39;"),
        c => html.push(c),
    }
}

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

/// Renders a whole log, or its end, as one balanced piece of HTML. Folds that have not ended are unfolded.
pub fn page_html(ops: &[Op]) -> String {
    let mut durations = HashMap::new();
    let mut open = Vec::new();
    for (at, op) in ops.iter().enumerate() {
        match op {
            Op::Took { number, took } => drop(durations.insert(*number, in_words(*took))),
            Op::Open { .. } => open.push(at),
            Op::Close => drop(open.pop()),
            Op::Line { .. } => {}
        }
    }
    let took = |number: &u64| durations.get(number).map(String::as_str);
    let mut out = String::new();
    let mut depth = 0_usize;
    for (at, op) in ops.iter().enumerate() {
        match op {
            Op::Line { number, text, .. } => line(&mut out, *number, text, took(number)),
            Op::Open { name, number, text } => {
                depth += 1;
                fold(&mut out, name, *number, text, took(number), open.binary_search(&at).is_ok());
            }
            // The fold began before the part of the log that is shown.
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

/// Renders ops as steps for the script of a page that is already open: `["l", html]` appends lines, `["o", html]`
/// appends a fold and enters it, `["c"]` leaves it, `["t", number, text]` sets how long the command on a line took.
pub fn event_html(ops: &[Op]) -> Value {
    let mut steps = Vec::new();
    let mut lines = String::new();
    let flush = |lines: &mut String, steps: &mut Vec<Value>| {
        if !lines.is_empty() {
            steps.push(json!(["l", std::mem::take(lines)]));
        }
    };
    for op in ops {
        if let Op::Line { number, text, .. } = op {
            line(&mut lines, *number, text, None);
            continue;
        }
        flush(&mut lines, &mut steps);
        match op {
            Op::Open { name, number, text } => {
                let mut element = String::new();
                fold(&mut element, name, *number, text, None, true);
                element.push_str("</details>");
                steps.push(json!(["o", element]));
            }
            Op::Close => steps.push(json!(["c"])),
            Op::Took { number, took } => steps.push(json!(["t", number, in_words(*took)])),
            Op::Line { .. } => {}
        }
    }
    flush(&mut lines, &mut steps);
    Value::Array(steps)
}
