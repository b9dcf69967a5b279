//! Traps about values that the shell does not take as they are written. A job exports each variable with a command of
//! bash, and a command that fails there does not fail the job. The values may be secrets, so they are not shown.

use super::written::{Form, written};
use crate::domain::{Rule, Severity};
use crate::travis::env;
use crate::travis::shell::is_name;
use crate::travis::traps::Trap;
use crate::yaml::{Mark, Node};

/// Maximum length of braces in a value, in bytes: they may begin at each place of it.
const MAX_BRACES: usize = 80;

/// Returns a trap for each text that gives a variable another value than the text says.
pub(in crate::travis::traps) fn cut_values(root: &Node) -> Vec<Trap> {
    let items = written(root).into_iter().flat_map(|group| group.items);
    let traps = items.filter_map(|item| {
        let message = match item.form {
            Form::Text(text) => of_text(text)?,
            Form::Entry(name, value) => format!("{name} {}, as in {name}: '\"…\"'", fault(name, value)?),
        };
        Some(trap(message, item.at))
    });
    traps.collect()
}

fn trap(message: String, at: Mark) -> Trap {
    Trap { severity: Severity::Warning, rule: Rule::EnvValueCut, message, at, key: "env".to_owned() }
}

/// Describes the fault of a text such as `A=1 B=2`. The normal form reports a text that cannot be read.
fn of_text(text: &str) -> Option<String> {
    let words = env::words(text).ok()?;
    let values = words.iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
    let mut faults = values.filter_map(|(name, value)| Some(format!("{name} {}", fault(name, value)?)));
    if let Some(fault) = faults.next() {
        return Some(format!("{fault}, as in NAME=\"…\""));
    }
    let bare = words.iter().position(|(_, value)| value.is_none())?;
    let word = words[bare].0.as_str();
    match words[..bare].last() {
        // Comments in a folded text, and what follows a value with quotes, belong to no value.
        Some((_, Some(value))) if word.starts_with('#') || value.ends_with(['"', '\'', '`', ')']) => None,
        Some((name, Some(value))) if value.is_empty() => Some(format!(
            "{name} is empty, as a blank stands behind its `=`, and the next word becomes a variable of its own: \
             remove the blank"
        )),
        // A name such as `CLANG` may be meant as a switch, although its variable is empty.
        Some((name, _)) if !is_switch(word) => Some(format!(
            "{name} gets only what stands before the first blank of its value, and each further word becomes an empty \
             variable: put the value into quotes, as in {name}=\"two words\""
        )),
        None if word.contains(':') => Some(
            "Travis takes a text under `env` for variables, and a word here has `:` in place of `=`, so it sets none: \
             write `NAME=value`"
                .to_owned(),
        ),
        _ => None,
    }
}

fn is_switch(word: &str) -> bool {
    is_name(word) && !word.contains(|c: char| c.is_ascii_lowercase())
}

/// Describes what the shell makes of a value, if that is not the value.
fn fault(name: &str, value: &str) -> Option<String> {
    if !is_name(name) {
        return None;
    }
    // At the end, the shell reads over both.
    let whole = value.trim_end().trim_end_matches(';');
    let taken = env::taken(whole);
    let mend = "put the whole value into quotes of the shell";
    if let Some(next) = whole.get(taken.len()..).and_then(|rest| rest.chars().next()) {
        let end = match next {
            c if c.is_whitespace() && !taken.contains(char::is_whitespace) => "the first blank of its value",
            '"' | '\'' => "a quote inside of its value",
            _ => "the end of the first quoted or substituted part of its value",
        };
        return Some(format!("gets only what stands before {end}, where Travis ends it: {mend}"));
    }
    let what = match first_special(taken)? {
        Special::Operator(c) => {
            format!("does not get this value, as the shell takes `{c}` outside of quotes for an operator")
        }
        Special::Open => "stays unset, as a quote or a substitution in its value is not closed".to_owned(),
        Special::Braces => "gets only the last of the words in braces, which the shell expands".to_owned(),
        Special::Backslash => "gets its value without the backslash, which the shell removes".to_owned(),
    };
    Some(format!("{what}: {mend}"))
}

/// A part of a value to which the shell gives a meaning of its own.
#[derive(Debug, PartialEq, Eq)]
enum Special {
    Operator(char),
    Open,
    Braces,
    Backslash,
}

/// Finds the first part outside of quotes and substitutions that the shell does not take literally.
fn first_special(value: &str) -> Option<Special> {
    let mut chars = value.char_indices();
    while let Some((at, c)) = chars.next() {
        let rest = &value[at + c.len_utf8()..];
        let length = match c {
            // Before other characters, a backslash is there to quote them.
            '\\' if rest.starts_with(|next: char| next.is_ascii_alphanumeric()) => return Some(Special::Backslash),
            '\\' => rest.chars().next().map_or(0, char::len_utf8),
            '\'' => match rest.find('\'') {
                Some(end) => end + 1,
                None => return Some(Special::Open),
            },
            '"' | '`' | '$' => match nested(c, rest) {
                Some(length) => length,
                None => return Some(Special::Open),
            },
            // `A=1;B=2` sets both, even if only for the commands of the job itself.
            ';' if is_assignment(rest) => return None,
            '(' | ')' | '&' | ';' | '|' | '<' | '>' => return Some(Special::Operator(c)),
            '{' if is_expansion(rest) => return Some(Special::Braces),
            _ => 0,
        };
        let end = at + c.len_utf8() + length;
        while chars.offset() < end && chars.next().is_some() {}
    }
    None
}

/// Returns the length of the quote or substitution that `opener` begins; `None` when it is not closed.
fn nested(opener: char, rest: &str) -> Option<usize> {
    let (skip, close) = match (opener, rest.chars().next()) {
        ('$', Some('(')) => (1, ')'),
        ('$', Some('{')) => (1, '}'),
        ('$', _) => return Some(0),
        (quote, _) => (0, quote),
    };
    let mut open = vec![close];
    let mut escaped = false;
    let mut before = ' ';
    for (at, c) in rest.char_indices().skip(skip) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if open.last() == Some(&c) => {
                open.pop();
                if open.is_empty() {
                    return Some(at + c.len_utf8());
                }
            }
            '(' if before == '$' || open.last() == Some(&')') => open.push(')'),
            '{' if before == '$' => open.push('}'),
            '"' | '`' => open.push(c),
            '\'' if open.last() != Some(&'"') => open.push(c),
            _ => {}
        }
        before = c;
    }
    None
}

fn is_assignment(text: &str) -> bool {
    text.split_once('=').is_some_and(|(name, _)| is_name(name.trim_start()))
}

/// Returns true if the text behind `{` makes several words, as `{a,b}` and `{1..3}` do.
fn is_expansion(rest: &str) -> bool {
    let end = rest.bytes().take(MAX_BRACES).position(|b| b == b'}');
    let inner = end.map_or("", |end| &rest[..end]);
    (inner.contains(',') || inner.contains("..")) && !inner.contains(char::is_whitespace)
}
