//! The arguments of a command as the parsers of Python read them.

use super::numbers::{is_int, number};
use super::options::{Choice, Count, Options, Scalar};
use super::shell::Argument;
use crate::Finding;
use crate::domain::{Rule, Severity};
use crate::tree::{Entry, Node, Value};
use crate::yaml::Mark;

/// Maximum number of problems of a call's options. The rest shows once these are mended.
const MAX_FINDINGS: usize = 20;
/// Maximum number of arguments that tell whether a script is a trainer's.
const MAX_TELLING: usize = 200;

/// The parser of a trainer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parser {
    /// Python's `argparse`, which also takes the beginning of an option's name.
    Argparse,
    /// `click`, as axolotl uses it: unknown options go to the launcher.
    Click,
}

/// The keys and problems that the arguments of a command give.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) entries: Vec<Entry>,
    /// Keys whose values only the job knows, or which have a value that was reported.
    pub(super) unknown: Vec<String>,
    /// True when the job may give more arguments than are known.
    pub(super) is_open: bool,
    /// Arguments that belong to no option.
    pub(super) positional: Vec<Argument>,
    pub(super) findings: Vec<Finding>,
}

/// The options of a program and what it does with them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'o> {
    pub(super) trainer: &'o str,
    pub(super) options: &'o Options,
    pub(super) parser: Parser,
    /// True when the program may know more options than the table: only a misspelling is reported.
    pub(super) may_know_more: bool,
    /// True for a command of a page, whose values may be placeholders such as YOUR_DIM.
    pub(super) is_example: bool,
}

/// An option in a command, with the value after `=`.
struct Use<'a> {
    name: &'a str,
    value: Option<&'a str>,
    at: Mark,
    is_whole: bool,
}

impl<'o> Reader<'o> {
    pub(super) fn read(&self, arguments: &[Argument]) -> Parsed {
        let mut parsed = Parsed::default();
        let mut rest = arguments;
        // Values behind an option that is not known belong to it.
        let mut is_after_unknown = false;
        while let Some((argument, more)) = rest.split_first() {
            rest = more;
            if parsed.findings.len() >= MAX_FINDINGS {
                parsed.is_open = true;
                break;
            }
            if argument.known() == Some("--") {
                if self.parser == Parser::Argparse {
                    parsed.positional.extend(more.iter().cloned());
                }
                break;
            }
            match self.used(argument) {
                Some(used) => is_after_unknown = !self.option(&used, &mut rest, &mut parsed),
                None if may_be_options(argument) => {
                    parsed.is_open = true;
                    is_after_unknown = true;
                }
                None if !is_after_unknown => parsed.positional.push(argument.clone()),
                None => {}
            }
        }
        parsed
    }

    /// Returns the option that an argument names; `None` for a value.
    fn used<'a>(&self, argument: &'a Argument) -> Option<Use<'a>> {
        let text = argument.text.as_str();
        if !is_option(text) {
            return None;
        }
        let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
        if value.is_none() && !argument.is_whole {
            return None;
        }
        let name = name.strip_prefix("--").unwrap_or(name);
        Some(Use { name, value, at: argument.at, is_whole: argument.is_whole })
    }

    /// Reads an option and its values. Returns false if the program does not know it.
    fn option(&self, used: &Use<'_>, rest: &mut &[Argument], parsed: &mut Parsed) -> bool {
        let choice = match self.find(used) {
            Ok(choice) => choice,
            Err(finding) => {
                parsed.findings.extend(finding);
                return false;
            }
        };
        let mut values: Vec<Argument> = Vec::new();
        if let Some(value) = used.value {
            if choice.is_flag() {
                let message = format!(
                    "--{} takes no value, so {} stops at it: remove the = and the value",
                    used.name, self.trainer
                );
                parsed.findings.push(self.finding(Rule::WrongType, message, used.at, choice));
                parsed.unknown.push(choice.key.clone());
                return true;
            }
            values.push(Argument { is_whole: used.is_whole, ..Argument::of(value, used.at) });
        } else {
            let wanted = match choice.count {
                Count::Flag(_) => 0,
                Count::One | Count::AtMostOne => 1,
                Count::Exactly(count) => count,
                Count::Any | Count::Some => usize::MAX,
            };
            while let Some((value, more)) = rest.split_first()
                && values.len() < wanted
                && !self.ends_values(value)
            {
                values.push(value.clone());
                *rest = more;
            }
        }
        self.given(used, choice, values, rest, parsed);
        true
    }

    fn ends_values(&self, argument: &Argument) -> bool {
        match self.parser {
            Parser::Argparse => is_option(&argument.text),
            Parser::Click => false,
        }
    }

    fn given(&self, used: &Use<'_>, choice: &Choice, values: Vec<Argument>, rest: &[Argument], parsed: &mut Parsed) {
        let key = choice.key.clone();
        let fewest = match choice.count {
            Count::One | Count::Some => 1,
            Count::Exactly(count) => count,
            Count::Flag(_) | Count::AtMostOne | Count::Any => 0,
        };
        if values.len() < fewest {
            let message = format!("--{} needs a value, and {} stops without one: give it one", used.name, self.trainer);
            parsed.findings.push(self.finding(Rule::WrongType, message, used.at, choice));
            return parsed.unknown.push(key);
        }
        if let (Count::Flag(_), Some(value)) = (choice.count, rest.first().and_then(|value| lone_value(value)))
            && self.parser == Parser::Argparse
        {
            let message = format!("--{} takes no value, so {} stops at {value}: remove it", used.name, self.trainer);
            let at = rest[0].at;
            parsed.findings.push(self.finding(Rule::WrongType, message, at, choice));
        }
        if let Some(earlier) = parsed.entries.iter().position(|entry| entry.key == key)
            && !choice.adds
            && !choice.is_flag()
        {
            let message = format!("--{} is given twice and only the last one counts: remove one", used.name);
            let finding =
                Finding { severity: Severity::Warning, ..self.finding(Rule::DuplicateKey, message, used.at, choice) };
            parsed.findings.push(finding);
            parsed.entries.remove(earlier);
        }
        if values.iter().any(|value| !value.is_whole) {
            let is_list = !matches!(choice.count, Count::One | Count::AtMostOne);
            parsed.is_open |= is_list && values.iter().any(|value| value.may_be_many);
            return parsed.unknown.push(key);
        }
        if self.is_example && values.iter().any(is_placeholder) {
            return parsed.unknown.push(key);
        }
        if let Some(finding) = values.iter().find_map(|value| self.refused(used, choice, value)) {
            parsed.findings.push(finding);
            return parsed.unknown.push(key);
        }
        let node = node_of(choice, &values, used.at);
        parsed.entries.push(Entry { key, at: used.at, node });
    }

    /// Finds the option that a name means.
    fn find(&self, used: &Use<'_>) -> Result<&Choice, Option<Finding>> {
        if let Some(choice) = self.options.get(used.name) {
            return Ok(choice);
        }
        let longer = self.options.iter().filter(|(name, _)| name.starts_with(used.name));
        let longer: Vec<(&String, &Choice)> =
            if self.parser == Parser::Argparse && !used.name.is_empty() { longer.collect() } else { Vec::new() };
        let keys: Vec<&str> = longer.iter().map(|(_, choice)| choice.key.as_str()).collect();
        match longer[..] {
            [(_, choice), ..] if keys.iter().all(|key| *key == keys[0]) => return Ok(choice),
            [] => {}
            // A version of the trainer may know this name itself.
            _ if self.may_know_more => return Err(None),
            _ => {
                let names: Vec<String> = longer.iter().take(4).map(|(name, _)| format!("--{name}")).collect();
                let message = format!(
                    "--{} may mean {}, so {} stops: write the whole name",
                    used.name,
                    names.join(" or "),
                    self.trainer
                );
                return Err(Some(unknown(message, used)));
            }
        }
        Err(self.unknown(used))
    }

    fn unknown(&self, used: &Use<'_>) -> Option<Finding> {
        if let Some(meant) = self.meant(used.name) {
            let dashes = if meant.starts_with('-') { "" } else { "--" };
            let message = format!("{} does not know --{}: did you mean {dashes}{meant}?", self.trainer, used.name);
            return Some(unknown(message, used));
        }
        let is_launchers = self.parser == Parser::Click;
        let message = format!("{} does not know --{} and stops at it: remove it", self.trainer, used.name);
        (!self.may_know_more && !is_launchers && used.name.len() > 2).then(|| unknown(message, used))
    }

    /// Returns the option at most two letters away, or the same with other letters between its words.
    pub(super) fn meant(&self, name: &str) -> Option<&'o str> {
        if name.len() > 60 {
            return None;
        }
        let folded = folded(name);
        let far = if folded.len() < 6 { 1 } else { 2 };
        let near = self.options.keys().filter(|known| known.len().abs_diff(name.len()) <= far + 4);
        // Of a name with underscores and the same with dashes, the one that is written like this one.
        let is_unlike = |known: &str| known.contains('-') != name.contains('-');
        let nearest = near
            .map(|known| (strsim::osa_distance(&folded, &self::folded(known)), is_unlike(known), known.as_str()))
            .min();
        nearest.filter(|(distance, ..)| *distance <= far).map(|(.., known)| known)
    }

    /// Reports a value that the parser refuses.
    fn refused(&self, used: &Use<'_>, choice: &Choice, value: &Argument) -> Option<Finding> {
        let text = value.known()?;
        let wanted = match choice.kind {
            Scalar::Int if !is_int(text) => "an integer, without a dot or an exponent",
            Scalar::Float if number(text).is_none() => "a number",
            _ => {
                let is_accepted = choice.words.is_empty() || choice.words.iter().any(|word| word == text);
                let message = format!("--{} must be one of {}", used.name, choice.words.join(", "));
                return (!is_accepted).then(|| self.finding(Rule::Enum, message, value.at, choice));
            }
        };
        let message = format!("--{} must be {wanted}: {} refuses this value", used.name, self.trainer);
        Some(self.finding(Rule::WrongType, message, value.at, choice))
    }

    fn finding(&self, rule: Rule, message: String, at: Mark, choice: &Choice) -> Finding {
        Finding { rule, severity: Severity::Error, message, at: Some(at), key: Some(choice.key.clone()), mend: None }
    }
}

fn unknown(message: String, used: &Use<'_>) -> Finding {
    let key = Some(used.name.replace('-', "_"));
    Finding { rule: Rule::UnknownKey, severity: Severity::Error, message, at: Some(used.at), key, mend: None }
}

/// Returns true for an argument that the parsers take for an option. A negative number is a value.
fn is_option(text: &str) -> bool {
    let before_equals = text.split('=').next().unwrap_or(text);
    let name = before_equals.strip_prefix('-').filter(|name| !name.is_empty());
    name.is_some_and(|name| number(text).is_none() && !name.contains(' ') && !name.starts_with(['.', '/']))
}

/// Returns true for what may become any options.
fn may_be_options(argument: &Argument) -> bool {
    !argument.is_whole && (argument.may_be_many || argument.text.is_empty() || argument.text.starts_with('-'))
}

/// Returns true for a value in capital letters only.
fn is_placeholder(argument: &Argument) -> bool {
    let has = |is: fn(char) -> bool| argument.text.contains(is);
    has(char::is_uppercase) && !has(char::is_lowercase)
}

/// Returns a word that was meant as the value of a flag before it.
fn lone_value(argument: &Argument) -> Option<&str> {
    let text = argument.known()?;
    let is_value = ["true", "false", "yes", "no", "0", "1", "on", "off"].contains(&text.to_lowercase().as_str());
    is_value.then_some(text)
}

/// Returns a name in small letters, with underscores between its words.
fn folded(name: &str) -> String {
    let mut folded = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_uppercase() && !folded.is_empty() && !folded.ends_with('_') {
            folded.push('_');
        }
        folded.extend(if c == '-' { '_' } else { c }.to_lowercase());
    }
    folded
}

/// Returns the value that the parser makes of the texts.
fn node_of(choice: &Choice, values: &[Argument], at: Mark) -> Node {
    let scalar = |argument: &Argument| Node { value: value_of(choice.kind, &argument.text), at: argument.at };
    match (choice.count, values) {
        (Count::Flag(is), _) => Node { value: Value::Bool(is), at },
        (Count::AtMostOne, []) => Node { value: Value::Bool(true), at },
        (Count::AtMostOne, [value]) => {
            let is = match value.text.to_lowercase().as_str() {
                "true" | "yes" | "t" | "y" | "1" => Value::Bool(true),
                "false" | "no" | "f" | "n" | "0" => Value::Bool(false),
                _ => value_of(choice.kind, &value.text),
            };
            Node { value: is, at: value.at }
        }
        (Count::One, [value]) => scalar(value),
        _ => Node { value: Value::List(values.iter().map(scalar).collect()), at: values.first().map_or(at, |v| v.at) },
    }
}

fn value_of(kind: Scalar, text: &str) -> Value {
    let whole = kind == Scalar::Int;
    match number(text).filter(|_| kind != Scalar::Text) {
        Some(value) => Value::Number { value, whole },
        None => Value::Text { text: text.to_owned(), plain: false },
    }
}

/// Returns the known options among those of a command, and the number of others.
pub(super) fn recognised<'o>(options: &'o Options, arguments: &[Argument]) -> (Vec<&'o str>, usize) {
    let reader = Reader { trainer: "", options, parser: Parser::Argparse, may_know_more: true, is_example: true };
    let (mut known, mut others) = (Vec::new(), 0);
    for used in arguments.iter().take(MAX_TELLING).filter_map(|argument| reader.used(argument)) {
        let option = options.get_key_value(used.name).map(|(name, _)| name.as_str());
        let option = option.or_else(|| options.keys().find(|name| name.starts_with(used.name)).map(String::as_str));
        let option = option.or_else(|| reader.meant(used.name));
        others += usize::from(option.is_none());
        known.extend(option);
    }
    (known, others)
}
