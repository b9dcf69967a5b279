//! The arguments of a command as the parsers of Python read them.

mod names;
mod values;

use super::options::{Choice, Count, Options};
use super::shell::Argument;
use crate::Finding;
use crate::domain::{Rule, Severity};
use crate::tree::Entry;
use crate::yaml::Mark;

use names::{Use, is_option, may_be_options};
use values::{is_placeholder, lone_value, node_of};

pub(super) use names::recognised;

/// Maximum number of problems of a call's options. The rest shows once these are mended.
const MAX_FINDINGS: usize = 20;
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

impl Reader<'_> {
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
                Count::Any | Count::Some | Count::Free => usize::MAX,
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
            Count::Flag(_) | Count::AtMostOne | Count::Any | Count::Free => 0,
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

    fn finding(&self, rule: Rule, message: String, at: Mark, choice: &Choice) -> Finding {
        Finding { rule, severity: Severity::Error, message, at: Some(at), key: Some(choice.key.clone()), mend: None }
    }
}
