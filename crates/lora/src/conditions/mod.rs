//! Conditions under which a trainer stops or does not do what was meant, parsed from `conditions/*/*.conditions`.
//!
//! A line has the form `error CONDITION => MESSAGE` or `warning CONDITION => MESSAGE`. `default KEY VALUE` says what an
//! absent key counts as. `[a.b]` starts the conditions on the maps at `a.b`; their keys may have dots, too. Lines that
//! are indented continue the one before.
//!
//! `error since 0.19 CONDITION` holds from that release on; `until 0.19` before it, and `until PACKAGE 0.19` counts the
//! releases of another package.
//!
//! A condition compares keys: `KEY`, `KEY set`, `KEY == VALUE`, `KEY in {A, B}`, `KEY begins TEXT`, `KEY ends TEXT`,
//! `KEY has TEXT`, `KEY < NUMBER`, `KEY < @KEY`, `KEY indivisible NUMBER` (it is no multiple), `KEY# > NUMBER` (the
//! count of its items), `KEY is text` (or `number`, `list`, `map`; `decimal` for a number with a dot, `json` for a map or
//! list in a text), each with its opposite (`not set`, `!=`, `not in`), joined with `and`, `or`, `not` and parentheses.
//! An absent key is like Python's `None`.

mod expression;

use std::collections::HashMap;
use std::sync::LazyLock;

use super::Dialect;
use super::keys::{Release, logical_lines};
use super::tree::{Node, Value};
use crate::domain::Severity;
use crate::yaml::Mark;

pub(super) use expression::Expression;

/// The conditions of one trainer.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    pub(super) all: Vec<Condition>,
    /// Defaults of absent keys, by the path of their map, then by their name.
    defaults: HashMap<String, HashMap<String, Node>>,
}

#[derive(Debug)]
pub(super) struct Condition {
    pub(super) severity: Severity,
    /// The first release that it holds for.
    pub(super) since: Option<Release>,
    /// The first release that it does not hold for any more.
    pub(super) until: Option<Release>,
    /// The path of the maps that it is about.
    pub(super) within: String,
    pub(super) when: Expression,
    /// Keys without which the condition cannot hold, so that most maps need no closer look.
    pub(super) needs: Vec<String>,
    pub(super) message: String,
}

impl Conditions {
    /// Returns what an absent key of the maps at this path counts as.
    pub(super) fn absent(&self, within: &str, key: &str) -> Option<&Node> {
        self.defaults.get(within)?.get(key)
    }
}

static CONDITIONS: LazyLock<HashMap<Dialect, Conditions>> = LazyLock::new(|| {
    let parsed = |dialect| (dialect, parse(source(dialect)).expect("a table that the tests have read"));
    Dialect::ALL.into_iter().map(parsed).collect()
});

fn source(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::LoraScripts => include_str!("images/lora-scripts.conditions"),
        Dialect::SdScripts | Dialect::AkegarasuPreset => include_str!("images/sd-scripts.conditions"),
        Dialect::SdScriptsDataset => include_str!("images/sd-scripts-dataset.conditions"),
        Dialect::Musubi => include_str!("images/musubi.conditions"),
        Dialect::MusubiDataset => include_str!("images/musubi-dataset.conditions"),
        Dialect::KohyaGui => include_str!("images/kohya-gui.conditions"),
        Dialect::Axolotl => include_str!("texts/axolotl.conditions"),
        Dialect::Trl => include_str!("texts/trl.conditions"),
        Dialect::Diffusers => include_str!("images/diffusers.conditions"),
        Dialect::Unsloth => include_str!("texts/unsloth.conditions"),
        Dialect::MsSwift => include_str!("texts/ms-swift.conditions"),
        Dialect::LlamaFactory => include_str!("texts/llama-factory.conditions"),
        Dialect::AiToolkit => include_str!("images/ai-toolkit.conditions"),
        Dialect::SimpleTuner => concat!(
            include_str!("images/simpletuner.conditions"),
            include_str!("images/simpletuner-families.conditions")
        ),
        Dialect::SimpleTunerDataset => include_str!("images/simpletuner-dataset.conditions"),
        Dialect::OneTrainer | Dialect::OneTrainerDataset => include_str!("images/onetrainer.conditions"),
        Dialect::Peft => "",
    }
}

/// Returns the conditions of a dialect.
pub(super) fn conditions(dialect: Dialect) -> &'static Conditions {
    &CONDITIONS[&dialect]
}

fn parse(text: &str) -> Result<Conditions, String> {
    let mut conditions = Conditions::default();
    let mut within = String::new();
    for line in logical_lines(text) {
        let fault = || format!("cannot be read: {line}");
        if let Some(path) = line.strip_prefix('[') {
            path.trim_end_matches(']').clone_into(&mut within);
            continue;
        }
        let (word, rest) = line.split_once(' ').ok_or_else(fault)?;
        let severity = match word {
            "error" => Severity::Error,
            "warning" => Severity::Warning,
            "default" => {
                let (key, value) = rest.split_once(' ').ok_or_else(fault)?;
                conditions.defaults.entry(within.clone()).or_default().insert(key.to_owned(), literal(value));
                continue;
            }
            _ => return Err(fault()),
        };
        let (when, message) = rest.split_once(" => ").ok_or_else(fault)?;
        let (since, when) = dated(when, "since").ok_or_else(fault)?;
        let (until, when) = dated(when, "until").ok_or_else(fault)?;
        let when = Expression::parse(when).ok_or_else(fault)?;
        let defaults = conditions.defaults.get(&within);
        let has_default = |key: &str| defaults.is_some_and(|defaults| defaults.contains_key(key));
        let own = when.needed().into_iter().filter(|key| !has_default(key) && !key.contains('/'));
        let needs = own.map(|key| key.split('.').next().unwrap_or(key).to_owned()).collect();
        let (within, message) = (within.clone(), message.to_owned());
        conditions.all.push(Condition { severity, since, until, within, when, needs, message });
    }
    Ok(conditions)
}

/// Takes a release off the start of a condition, if it has one.
fn dated<'t>(when: &'t str, word: &str) -> Option<(Option<Release>, &'t str)> {
    let Some(rest) = when.strip_prefix(word).and_then(|rest| rest.strip_prefix(' ')) else {
        return Some((None, when));
    };
    let mut words = rest.split(' ');
    let release = Release::parse(&mut words)?;
    let taken = if release.package.is_some() { 2 } else { 1 };
    Some((Some(release), rest.splitn(taken + 1, ' ').nth(taken)?))
}

/// Returns the value that a word of a table stands for.
fn literal(word: &str) -> Node {
    let value = match word {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ => match word.parse() {
            Ok(value) => Value::Number { value, whole: !word.contains('.') },
            Err(_) => Value::Text { text: word.to_owned(), plain: false },
        },
    };
    Node { value, at: Mark::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_can_be_read_and_names_known_keys() {
        let mut unknown = Vec::new();
        for dialect in Dialect::ALL {
            let conditions = parse(source(dialect)).expect("a table");
            let table = crate::keys::table(dialect);
            for (condition, key) in
                conditions.all.iter().flat_map(|it| it.when.keys().into_iter().map(move |key| (it, key)))
            {
                // The keys of another file are not in this table.
                let path = format!("{}.{}", condition.within, key.split('/').next().unwrap_or_default());
                let path = path.trim_start_matches('.');
                let (map, name) = path.rsplit_once('.').unwrap_or(("", path));
                let has =
                    |map: &str| table.section(map).is_none_or(|section| crate::keys::spec(section, name).is_some());
                // Some files have the keys of these sections in the root.
                let is_extra = || ["plugins", "other scripts"].iter().any(|it| table.section(it).is_some() && has(it));
                if !has(map) && !is_extra() {
                    unknown.push(format!("{dialect:?}: {path}"));
                }
            }
        }
        assert!(unknown.is_empty(), "{unknown:#?}");
    }

    #[test]
    fn a_table_says_what_absent_keys_are() {
        let conditions = parse("default a 4\n[b]\ndefault a no\nerror a > 3 => too many\n").expect("a table");
        assert_eq!(
            conditions.absent("", "a").map(|node| &node.value),
            Some(&Value::Number { value: 4.0, whole: true })
        );
        assert_eq!(conditions.absent("b", "a").and_then(Node::text), Some("no"));
        assert_eq!((conditions.all[0].within.as_str(), conditions.all[0].message.as_str()), ("b", "too many"));
        let dated = parse("error since 0.19 until trl 1.2 a => b\n").expect("a table");
        let until = dated.all[0].until.as_ref().and_then(|release| release.package.as_deref());
        assert!(dated.all[0].since.is_some() && until == Some("trl") && dated.all[0].when.keys() == ["a"]);
        assert!(parse("error a > => b\n").is_err() && parse("errors a => b\n").is_err());
    }
}
