//! The options that the names in a command mean.

use super::{Parser, Reader};
use crate::Finding;
use crate::commands::numbers::number;
use crate::commands::options::{Choice, Options};
use crate::commands::shell::Argument;
use crate::domain::{Rule, Severity};
use crate::yaml::Mark;

/// Maximum number of arguments that tell whether a script is a trainer's.
const MAX_TELLING: usize = 200;

/// An option in a command, with the value after `=`.
pub(super) struct Use<'a> {
    pub(super) name: &'a str,
    pub(super) value: Option<&'a str>,
    pub(super) at: Mark,
    pub(super) is_whole: bool,
}

impl<'o> Reader<'o> {
    /// Returns the option that an argument names; `None` for a value.
    pub(super) fn used<'a>(&self, argument: &'a Argument) -> Option<Use<'a>> {
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

    /// Finds the option that a name means.
    pub(super) fn find(&self, used: &Use<'_>) -> Result<&Choice, Option<Finding>> {
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
}

fn unknown(message: String, used: &Use<'_>) -> Finding {
    let key = Some(used.name.replace('-', "_"));
    Finding { rule: Rule::UnknownKey, severity: Severity::Error, message, at: Some(used.at), key, mend: None }
}

/// Returns true for an argument that the parsers take for an option. A negative number is a value.
pub(super) fn is_option(text: &str) -> bool {
    let before_equals = text.split('=').next().unwrap_or(text);
    let name = before_equals.strip_prefix('-').filter(|name| !name.is_empty());
    name.is_some_and(|name| number(text).is_none() && !name.contains(' ') && !name.starts_with(['.', '/']))
}

/// Returns true for what may become any options.
pub(super) fn may_be_options(argument: &Argument) -> bool {
    !argument.is_whole && (argument.may_be_many || argument.text.is_empty() || argument.text.starts_with('-'))
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

/// Returns the known options among those of a command, and the number of others.
pub(in crate::commands) fn recognised<'o>(options: &'o Options, arguments: &[Argument]) -> (Vec<&'o str>, usize) {
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
