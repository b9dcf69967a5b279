//! Output for people: events at the left edge, and the job's log indented below them.

use std::io::{IsTerminal as _, Write as _};

fn paint(text: &str, code: &str) -> String {
    if std::io::stdout().is_terminal() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

pub fn bold(text: &str) -> String {
    paint(text, "1")
}

pub fn faint(text: &str) -> String {
    paint(text, "2")
}

/// Formats a commit state as GitHub shows it: sign, word, colour.
pub fn outcome(state: &str) -> String {
    let (sign, code) = match state {
        "success" => ("✓", "32;1"),
        "failure" => ("✗", "31;1"),
        "error" => ("!", "31;1"),
        _ => ("●", "33"),
    };
    paint(&format!("{sign} {state:<7}"), code)
}

pub fn say(text: &str) {
    println!("{} {text}", paint("demo:", "36"));
}

/// Prints log text as it arrives, without the marks that only a page can use.
pub fn log(text: &str) {
    let mut out = std::io::stdout().lock();
    for line in text.split_inclusive('\n') {
        let shown = line.rsplit("\r\x1b[0K").next().unwrap_or(line);
        if shown.starts_with("travis_") || shown.is_empty() {
            continue;
        }
        let shown = if std::io::stdout().is_terminal() { shown.to_owned() } else { without_colours(shown) };
        // A closed terminal ends the demo soon enough.
        let _ = write!(out, "      | {shown}");
        if !shown.ends_with('\n') {
            let _ = writeln!(out);
        }
    }
}

fn without_colours(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\x1b[") {
        plain.push_str(before);
        rest = after.split_once(|c: char| c.is_ascii_alphabetic()).map_or("", |(_, rest)| rest);
    }
    plain + rest
}
