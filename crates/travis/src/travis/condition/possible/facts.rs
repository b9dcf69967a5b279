//! The facts that conditions ask for, with the values that they may have.

use std::collections::BTreeMap;

use crate::travis::condition::{Condition, Operand, Predicate};

/// The kinds of events (`type`). Only some of them can be for a tag.
pub const KINDS: [&str; 4] = ["push", "api", "cron", "pull_request"];
const OF_TAGS: [&str; 2] = ["push", "api"];
/// Facts that only pull requests have.
const OF_PULL_REQUESTS: [&str; 3] = ["head_branch", "head_repo", "draft"];

/// A value that a fact may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Missing,
    Bool(bool),
    Text(String),
    /// A text that differs from all texts with which the fact of this name is compared.
    Other(String),
    Unknown,
}

impl Value {
    /// Creates the value of a text in a condition, where `true` and `false` are booleans.
    pub fn of(text: &str) -> Self {
        match text.to_ascii_lowercase().as_str() {
            "true" => Self::Bool(true),
            "false" => Self::Bool(false),
            _ => Self::Text(text.to_owned()),
        }
    }
}

/// An event that triggers a build. The branch of a tag's build is the tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub kind: &'static str,
    pub branch: Value,
    pub tag: Value,
}

/// All events, and the values of all facts that are not part of them.
pub(super) struct Worlds {
    events: Vec<Event>,
    others: Vec<(String, Vec<Value>)>,
}

/// An event, and the number of the combination of the other facts' values.
pub(super) struct World<'a> {
    pub(super) event: &'a Event,
    others: &'a [(String, Vec<Value>)],
    number: usize,
}

impl Worlds {
    pub(super) fn count(&self) -> usize {
        self.others.iter().fold(self.events.len(), |all, (_, values)| all.saturating_mul(values.len()))
    }

    pub(super) fn all(&self) -> impl Iterator<Item = World<'_>> {
        let (events, others) = (&self.events, &self.others);
        (0..self.count()).map(move |index| World {
            event: &events[index % events.len()],
            others,
            number: index / events.len(),
        })
    }
}

impl World<'_> {
    pub(super) fn value(&self, fact: &str) -> Value {
        match fact {
            "type" => return Value::Text(self.event.kind.to_owned()),
            "branch" => return self.event.branch.clone(),
            "tag" => return self.event.tag.clone(),
            _ if OF_PULL_REQUESTS.contains(&fact) && self.event.kind != "pull_request" => return Value::Missing,
            _ => {}
        }
        let mut number = self.number;
        for (name, values) in self.others {
            if name == fact {
                return values[number % values.len()].clone();
            }
            number /= values.len();
        }
        Value::Unknown
    }
}

/// The facts of some conditions, each with the values that it is compared with.
#[derive(Debug, Default)]
pub struct Facts {
    values: BTreeMap<String, Vec<Value>>,
    pub(super) work: usize,
}

impl Facts {
    /// Creates the facts of a search that has this much work for each event besides its conditions.
    pub fn new(work: usize) -> Self {
        Self { work, ..Self::default() }
    }

    /// Adds a text that a fact is compared with.
    pub fn add(&mut self, fact: &str, text: &str) {
        self.value(fact, Value::of(text));
    }

    fn value(&mut self, fact: &str, value: Value) {
        let values = self.values.entry(fact.to_owned()).or_default();
        if !values.contains(&value) {
            values.push(value);
        }
    }

    pub(super) fn take(&mut self, condition: &Condition) {
        match condition {
            Condition::Or(left, right) | Condition::And(left, right) => {
                self.take(left);
                self.take(right);
            }
            Condition::Not(inner) => self.take(inner),
            Condition::Is(operand, Predicate::Present | Predicate::Blank, _) => self.named(operand),
            Condition::Term(operand) | Condition::Is(operand, ..) => self.switched(operand),
            Condition::Equal(left, right, _) => self.compared(left, right),
            Condition::In(left, list, _) => list.iter().for_each(|right| self.compared(left, right)),
            Condition::Match(left, right, _) => {
                self.named(left);
                let texts = match right {
                    Operand::Regex(pattern) => pattern.alternatives().unwrap_or_default(),
                    _ => Vec::new(),
                };
                texts.iter().for_each(|text| self.compared(left, &Operand::Text((*text).to_owned())));
            }
        }
    }

    fn named(&mut self, operand: &Operand) {
        if let Some(fact) = fact(operand) {
            self.values.entry(fact).or_default();
        }
    }

    fn switched(&mut self, operand: &Operand) {
        if let Some(fact) = fact(operand) {
            self.value(&fact, Value::Bool(true));
            self.value(&fact, Value::Bool(false));
        }
    }

    fn compared(&mut self, left: &Operand, right: &Operand) {
        for (one, other) in [(left, right), (right, left)] {
            match (fact(one), other) {
                (Some(fact), Operand::Text(text)) => self.add(&fact, text),
                _ => self.named(one),
            }
        }
    }

    fn texts(&self, fact: &str) -> impl Iterator<Item = &Value> {
        let values = self.values.get(fact).map_or(&[][..], Vec::as_slice);
        values.iter().filter(|value| matches!(value, Value::Text(text) if is_branch(text)))
    }

    fn events(&self) -> Vec<Event> {
        let other = |fact: &str| Value::Other(fact.to_owned());
        let mut events = Vec::new();
        for kind in KINDS {
            let branches = self.texts("branch").cloned().chain([other("branch")]);
            events.extend(branches.map(|branch| Event { kind, branch, tag: Value::Missing }));
            if OF_TAGS.contains(&kind) {
                let versions = self.texts("branch").filter(|text| is_version(text));
                let tags = self.texts("tag").chain(versions).cloned().chain([other("tag")]);
                events.extend(tags.map(|tag| Event { kind, branch: tag.clone(), tag }));
            }
        }
        events
    }

    pub(super) fn worlds(self) -> Worlds {
        let events = self.events();
        let others = self.values.into_iter().filter(|(name, _)| !["type", "branch", "tag"].contains(&name.as_str()));
        let others = others.map(|(name, mut values)| {
            match name.as_str() {
                "fork" => values = vec![Value::Bool(true), Value::Bool(false)],
                "repo" => values.push(Value::Other(name.clone())),
                _ => values.extend([Value::Other(name.clone()), Value::Missing]),
            }
            (name, values)
        });
        Worlds { events, others: others.collect() }
    }
}

/// Returns the name of the fact that an operand asks for.
pub(super) fn fact(operand: &Operand) -> Option<String> {
    match operand {
        Operand::Variable(name) => Some(name.clone()),
        Operand::Env(args) => match args.as_slice() {
            [Operand::Text(name)] => Some(format!("env({name})")),
            _ => None,
        },
        _ => None,
    }
}

/// Returns true if a text may be the name of a branch or tag. Git would take some more, which nobody uses.
pub fn is_branch(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || "~^:?*[\\|$".contains(c)) && !text.contains("..")
}

/// Returns true if a text is more likely the name of a tag than that of a branch.
fn is_version(value: &Value) -> bool {
    matches!(value, Value::Text(text) if text.trim_start_matches('v').starts_with(|c: char| c.is_ascii_digit()))
}
