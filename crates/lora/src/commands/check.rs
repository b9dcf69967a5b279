//! The check of one call of a trainer: its options, the config that it names, and the rules for configs.

use super::named::{Named, Place};
use super::overrides::{keys, keys_with_dashes, literal};
use super::parse::{Parsed, Parser, Reader};
use super::programs::{Call, Form, Program, is_config};
use super::shell::Argument;
use crate::domain::{Rule, Severity};
use crate::read::Format;
use crate::rules::{self, Elsewhere};
use crate::tree::{Entry, Node, Value};
use crate::yaml::Mark;
use crate::{Dialect, Finding, Repository};

/// The number of the command among the texts that a tree is merged from. It comes after that of the config, so that a
/// condition on both is reported in the command.
const COMMAND: u16 = 1;
/// Maximum number of configs of a call that are looked for.
const MAX_CONFIGS: usize = 20;
/// Keys that axolotl's module takes beside those of a config.
const OF_AXOLOTL_CLI: [&str; 12] = [
    "debug",
    "debug_text_only",
    "debug_num_examples",
    "inference",
    "merge_lora",
    "prompter",
    "shard",
    "gradio",
    "prepare_ds_only",
    "launcher",
    "cloud",
    "cleaned",
];
/// Rules that the parser of the options has already checked.
const OF_PARSERS: [Rule; 3] = [Rule::UnknownKey, Rule::CamelCase, Rule::DuplicateKey];

/// A call with the keys that it gives to a config.
pub(super) struct Read<'c> {
    call: &'c Call<'c>,
    parsed: Parsed,
    /// The configs that it names. Its keys are those of the first.
    configs: Vec<Argument>,
}

impl<'c> Read<'c> {
    pub(super) fn of(call: &'c Call<'c>, place: &Place<'_>, is_cut: bool) -> Self {
        let mut read = Self::parsed(call, place);
        // A page may leave out what its readers know.
        read.parsed.is_open |= is_cut || place.is_page;
        read
    }

    fn parsed(call: &'c Call<'c>, place: &Place<'_>) -> Self {
        let program = call.program;
        let reader = |parser| Reader {
            trainer: program.trainer,
            options: &program.options,
            parser,
            may_know_more: call.may_know_more() || place.has_script(call),
            is_example: place.is_page,
        };
        match program.form {
            Form::Options(parser, names) => {
                let mut parsed = reader(parser).read(call.arguments);
                let mut configs = Vec::new();
                for name in names {
                    let entry = parsed.entries.iter().find(|entry| entry.key == *name);
                    configs.extend(entry.and_then(|entry| Some(Argument::of(entry.node.text()?, entry.node.at))));
                    parsed.is_open |= parsed.unknown.iter().any(|key| key == name);
                }
                refuse_others(program, place, &mut parsed);
                Self { call, parsed, configs }
            }
            Form::ConfigAndOptions(parser) => {
                let mut parsed = reader(parser).read(call.arguments);
                let configs = parsed.positional.first().cloned().into_iter().collect();
                parsed.entries.iter_mut().for_each(|entry| entry.node = literal(&entry.node));
                parsed.entries.retain(|entry| !OF_AXOLOTL_CLI.contains(&entry.key.as_str()));
                Self { call, parsed, configs }
            }
            Form::ConfigAndKeys => {
                let mut parsed = keys_with_dashes(call.arguments);
                parsed.entries.retain(|entry| !OF_AXOLOTL_CLI.contains(&entry.key.as_str()));
                let configs = parsed.positional.first().cloned().into_iter().collect();
                Self { call, parsed, configs }
            }
            Form::Configs => {
                let parsed = reader(Parser::Argparse).read(call.arguments);
                let configs = parsed.positional.iter().take(MAX_CONFIGS).cloned().collect();
                Self { call, parsed, configs }
            }
            Form::MaybeConfigAndOptions => {
                let count = call.arguments.first().is_some_and(is_config).into();
                let (configs, options) = call.arguments.split_at(count);
                let mut parsed = reader(Parser::Argparse).read(options);
                refuse_others(program, place, &mut parsed);
                Self { call, parsed, configs: configs.to_vec() }
            }
            Form::ConfigOrOptions => match call.arguments.split_first() {
                Some((first, rest)) if is_config(first) => {
                    let parsed = keys(program.trainer, rest);
                    Self { call, parsed, configs: vec![first.clone()] }
                }
                _ => {
                    let mut parsed = reader(Parser::Argparse).read(call.arguments);
                    refuse_others(program, place, &mut parsed);
                    Self { call, parsed, configs: Vec::new() }
                }
            },
        }
    }

    /// Returns the paths of the configs that the call names and the repository has.
    pub(super) fn config_paths(&self, place: &Place<'_>) -> Vec<String> {
        let path = |config| match place.find(config, self.call) {
            Named::Here(path) => Some(path),
            Named::Missing(_) | Named::Unknown => None,
        };
        self.configs.iter().filter_map(path).collect()
    }

    /// Returns what the call gives to its config.
    pub(super) fn gives(&self) -> Elsewhere {
        let keys = self.parsed.entries.iter().map(|entry| entry.key.clone()).chain(self.parsed.unknown.iter().cloned());
        Elsewhere { keys: keys.collect(), is_open: self.parsed.is_open }
    }

    /// Returns the problems of the call.
    pub(super) fn problems(mut self, place: &Place<'_>) -> Vec<Finding> {
        let mut findings = std::mem::take(&mut self.parsed.findings);
        let mut root = Vec::new();
        for (index, config) in self.configs.iter().enumerate() {
            match place.find(config, self.call) {
                Named::Here(_) if index > 0 => {}
                Named::Here(path) => match self.read(&path, place.repository) {
                    Some(entries) => root = entries,
                    None => self.parsed.is_open = true,
                },
                Named::Missing(message) => {
                    self.parsed.is_open = true;
                    let key = None;
                    let (rule, severity) = (Rule::MissingFile, Severity::Error);
                    findings.push(Finding { rule, severity, message, at: Some(config.at), key, mend: None });
                }
                Named::Unknown => self.parsed.is_open = true,
            }
        }
        let has_config = !self.configs.is_empty();
        let needs_config = matches!(self.call.program.form, Form::ConfigAndOptions(_) | Form::ConfigAndKeys);
        self.parsed.is_open |= needs_config && !has_config;
        findings.extend(self.missing().filter(|_| !has_config));
        if let Some(dialect) = self.call.program.dialect {
            findings.extend(self.by_the_rules(dialect, root, has_config, place));
        }
        findings
    }

    /// Reads the entries of the config that the call names.
    fn read(&self, path: &str, repository: &Repository<'_>) -> Option<Vec<Entry>> {
        let text = std::str::from_utf8(repository.text(path)?).ok()?;
        let source = Format::of(path)?.read(text);
        let is_whole = !source.faults.iter().any(|fault| fault.fatal);
        let Value::Map(entries) = source.root.filter(|_| is_whole)?.value else { return None };
        let flat = |entry: Entry| match entry.node.value {
            Value::Map(entries) if self.call.program.dialect == Some(Dialect::SdScripts) => entries,
            value => vec![Entry { node: Node { value, at: entry.node.at }, ..entry }],
        };
        Some(entries.into_iter().flat_map(flat).collect())
    }

    /// Reports required options that are missing.
    fn missing(&self) -> Option<Finding> {
        let parsed = &self.parsed;
        let is_given =
            |key: &str| parsed.unknown.iter().any(|given| given == key) || parsed.entries.iter().any(|e| e.key == key);
        let mut required = self.call.program.options.iter().filter(|(_, choice)| choice.is_required);
        let (name, choice) = required.find(|(_, choice)| !is_given(&choice.key)).filter(|_| !parsed.is_open)?;
        let message = format!("--{name} is missing, and {} stops without it", self.call.program.trainer);
        let (at, key) = (Some(self.call.name.at), Some(choice.key.clone()));
        Some(Finding { rule: Rule::MissingRequired, severity: Severity::Error, message, at, key, mend: None })
    }

    /// Checks the keys that the call gives, together with those of its config, by the rules for configs.
    fn by_the_rules(&self, dialect: Dialect, config: Vec<Entry>, has_config: bool, place: &Place<'_>) -> Vec<Finding> {
        let own = self.parsed.entries.iter().cloned().map(|mut entry| {
            of_command(&mut entry.at);
            of_command_below(&mut entry.node);
            entry
        });
        let is_given = |key: &str| {
            self.parsed.entries.iter().any(|entry| entry.key == key) || self.parsed.unknown.iter().any(|own| own == key)
        };
        let entries = config.into_iter().filter(|entry| !is_given(entry.name())).chain(own).collect();
        let mut at = self.call.name.at;
        of_command(&mut at);
        let root = Node { value: Value::Map(entries), at };
        let elsewhere = Elsewhere { keys: self.parsed.unknown.iter().cloned().collect(), is_open: self.parsed.is_open };
        // Which captions belong to the images depends on keys that are not known.
        let unknown = Repository::default();
        let is_known = !self.call.is_elsewhere && !place.is_page && !elsewhere.is_open && elsewhere.keys.is_empty();
        let repository = if is_known { place.repository } else { &unknown };
        let found = rules::check(place.path, dialect, &root, repository, elsewhere).0;
        let is_parsed = match self.call.program.form {
            Form::ConfigAndKeys => false,
            Form::ConfigOrOptions => !has_config,
            _ => true,
        };
        // click leaves the types to the config's model.
        let is_typed = is_parsed && !matches!(self.call.program.form, Form::ConfigAndOptions(_));
        // What a config itself lacks is reported there.
        let is_of_config = |at: Mark| at.file != COMMAND || has_config && at == root.at;
        let is_own = |finding: &Finding| {
            let is_checked =
                is_parsed && OF_PARSERS.contains(&finding.rule) || is_typed && finding.rule == Rule::WrongType;
            !finding.at.is_none_or(is_of_config) && !is_checked
        };
        // The folders of a container or of an example are not those of a person.
        let is_private = !place.is_page && !self.call.is_elsewhere;
        // The conditions are those of the newest version.
        let is_newest = !self.call.is_copy;
        let holds = |finding: &Finding| match finding.rule {
            Rule::PrivatePath => is_private,
            Rule::ConflictingKeys | Rule::Refused => is_newest,
            _ => true,
        };
        let is_own = |finding: &Finding| is_own(finding) && holds(finding);
        found.into_iter().filter(is_own).collect()
    }
}

fn of_command(at: &mut Mark) {
    at.file = COMMAND;
}

fn of_command_below(node: &mut Node) {
    of_command(&mut node.at);
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(of_command_below),
        Value::Map(entries) => entries.iter_mut().for_each(|entry| {
            of_command(&mut entry.at);
            of_command_below(&mut entry.node);
        }),
        Value::Null | Value::Bool(_) | Value::Number { .. } | Value::Text { .. } => {}
    }
}

/// Reports an argument that belongs to no option.
fn refuse_others(program: &Program, place: &Place<'_>, parsed: &mut Parsed) {
    let is_flags_value = |at: Mark| parsed.findings.iter().any(|finding| finding.at == Some(at));
    let other = parsed
        .positional
        .iter()
        .find(|argument| argument.known().is_some_and(|text| !text.trim().is_empty()) && !is_flags_value(argument.at));
    // SimpleTuner's own command takes `env=…` and keys of the config. A page has notes behind its arguments.
    let is_taken = parsed.is_open || place.is_page || program.trainer == "SimpleTuner";
    let Some(other) = other.filter(|_| !is_taken) else { return };
    let trainer = program.trainer;
    // The message does not repeat the argument, which may be a secret.
    let message = format!("{trainer} takes no argument without an option, and stops at this one: remove it");
    let at = Some(other.at);
    parsed.findings.push(Finding {
        rule: Rule::UnknownKey,
        severity: Severity::Error,
        message,
        at,
        key: None,
        mend: None,
    });
}
