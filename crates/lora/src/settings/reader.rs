//! Reader of the key `lora`. It reports what is wrong with what is right.

use std::time::Duration;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::{Level, OwnDialect, Settings, Wanted, train};
use crate::domain::{Rule, Severity, only_near};
use crate::smoke::{MAX_RESOLUTION, MAX_STEPS};
use crate::yaml::{Data, Entry, Mark, Node};
use crate::{Finding, Mend};

/// Allowed timeouts of a smoke job, in seconds. A longer job would not be a smoke job.
const TIMEOUT: std::ops::RangeInclusive<u64> = 10..=6 * 3600;
/// Maximum number of globs, rules, dialects or trainings.
pub(super) const MOST: usize = 100;

pub(super) struct Reader {
    settings: Settings,
    findings: Vec<Finding>,
}

impl Reader {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, findings: Vec::new() }
    }

    /// Reads the value of `lora:`.
    pub(super) fn read(mut self, node: &Node) -> (Settings, Vec<Finding>) {
        self.root(node);
        (self.settings, self.findings)
    }

    fn root(&mut self, node: &Node) {
        for entry in self.entries("lora", node) {
            match entry.key.as_str() {
                "configs" => self.settings.configs = self.globs("lora.configs", &entry.value),
                "command" => self.command(entry),
                "smoke" => self.smoke(&entry.value),
                "rules" => self.rules(&entry.value),
                "dialects" => entry.value.items().iter().take(MOST).for_each(|item| self.dialect(item)),
                "train" => self.settings.train = train::read(self, &entry.value),
                _ => self.unknown("lora", node, entry, &["configs", "command", "smoke", "train", "rules", "dialects"]),
            }
        }
    }

    fn command(&mut self, entry: &Entry) {
        match entry.value.text() {
            Some(text) if text.contains("{config}") => self.settings.command = Some(text.to_owned()),
            _ => self.wrong("lora.command", entry.value.at, "a command with {config} where the config's path belongs"),
        }
    }

    fn smoke(&mut self, node: &Node) {
        match node.text() {
            Some("true" | "changed") => return,
            Some("all") => return self.settings.smoke.wanted = Wanted::All,
            Some("false") => return self.settings.smoke.wanted = Wanted::Nothing,
            _ => {}
        }
        for entry in self.entries("lora.smoke", node) {
            let text = entry.value.text().unwrap_or_default();
            match entry.key.as_str() {
                "configs" => match text {
                    "changed" => self.settings.smoke.wanted = Wanted::Changed,
                    "all" => self.settings.smoke.wanted = Wanted::All,
                    _ => self.wrong("lora.smoke.configs", entry.value.at, "changed or all"),
                },
                "steps" => match text.parse().ok().filter(|steps| (1..=MAX_STEPS).contains(steps)) {
                    Some(steps) => self.settings.smoke.steps = steps,
                    None => self.wrong("lora.smoke.steps", entry.value.at, "a number from 1 to 1000"),
                },
                "resolution" => {
                    let fits = |side: &u32| (64..=MAX_RESOLUTION).contains(side) && side.is_multiple_of(64);
                    match text.parse().ok().filter(fits) {
                        Some(side) => self.settings.smoke.resolution = side,
                        None => self.wrong("lora.smoke.resolution", entry.value.at, "a multiple of 64 from 64 to 1024"),
                    }
                }
                "timeout" => {
                    let fits = |time: &Duration| TIMEOUT.contains(&time.as_secs());
                    match humantime::parse_duration(text).ok().filter(fits) {
                        Some(time) => self.settings.smoke.timeout = time,
                        None => self.wrong("lora.smoke.timeout", entry.value.at, "a time such as 10m, up to 6h"),
                    }
                }
                _ => self.unknown("lora.smoke", node, entry, &["configs", "steps", "resolution", "timeout"]),
            }
        }
    }

    fn rules(&mut self, node: &Node) {
        for entry in self.entries("lora.rules", node).iter().take(MOST) {
            let Some(rule) = Rule::named(&entry.key) else {
                self.unknown_rule(entry);
                continue;
            };
            let level = match entry.value.text() {
                Some("error") => Level::Is(Severity::Error),
                Some("warning") => Level::Is(Severity::Warning),
                // YAML 1.1 reads a plain `off` as a boolean; the author's intent is clear.
                Some("off" | "false") => Level::Off,
                _ => {
                    self.wrong(&format!("lora.rules.{}", entry.key), entry.value.at, "error, warning or off");
                    continue;
                }
            };
            self.settings.rules.insert(rule, level);
        }
    }

    /// Reports a name that no rule has: the rule that was meant keeps its level.
    fn unknown_rule(&mut self, entry: &Entry) {
        let key = format!("lora.rules.{}", entry.key);
        let near: Vec<&str> = Rule::nearest(&entry.key).into_iter().map(Rule::name).collect();
        let advice = if near.is_empty() { String::new() } else { format!(": did you mean {}?", near.join(" or ")) };
        let message = format!("`{key}` changes nothing, because no rule has this name{advice}");
        self.report(Severity::Warning, entry.at, &key, message);
        self.mend(entry, Rule::ALL.iter().map(|rule| rule.name()));
    }

    fn dialect(&mut self, node: &Node) {
        let schema = node.get("schema").and_then(|entry| entry.value.text()).map(str::to_owned);
        let configs = node.get("configs").and_then(|entry| self.globs("lora.dialects.configs", &entry.value));
        match (schema, configs) {
            (Some(schema), Some(configs)) => {
                self.settings.dialects.push(OwnDialect { schema, configs, at: node.at });
            }
            _ => self.wrong("lora.dialects", node.at, "a list of {schema: FILE, configs: GLOB}"),
        }
    }

    /// Reads a glob or a list of globs. A star does not match a slash.
    pub(super) fn globs(&mut self, key: &str, node: &Node) -> Option<GlobSet> {
        let texts: Vec<(&str, Mark)> = match node.text() {
            Some(text) => vec![(text, node.at)],
            None => node.items().iter().filter_map(|item| Some((item.text()?, item.at))).take(MOST).collect(),
        };
        if texts.is_empty() {
            self.wrong(key, node.at, "a glob such as configs/**/*.yaml, or a list of them");
            return None;
        }
        let mut set = GlobSetBuilder::new();
        for (text, at) in texts {
            match GlobBuilder::new(text.trim_start_matches("./")).literal_separator(true).build() {
                Ok(glob) => drop(set.add(glob)),
                Err(_) => self.wrong(key, at, "a glob such as configs/**/*.yaml"),
            }
        }
        set.build().ok()
    }

    pub(super) fn entries<'a>(&mut self, key: &str, node: &'a Node) -> &'a [Entry] {
        if !matches!(node.data, Data::Map(_)) && !node.is_null() {
            self.wrong(key, node.at, "a map");
        }
        node.entries()
    }

    pub(super) fn wrong(&mut self, key: &str, at: Mark, wanted: &str) {
        self.report(Severity::Error, at, key, format!("`{key}` has to be {wanted}"));
    }

    pub(super) fn unknown(&mut self, map: &str, node: &Node, entry: &Entry, known: &[&str]) {
        let key = format!("{map}.{}", entry.key);
        let message = format!("`{key}` is not known: `{map}` has {}", known.join(", "));
        self.report(Severity::Error, entry.at, &key, message);
        self.mend(entry, known.iter().copied().filter(|known| node.get(known).is_none()));
    }

    /// Adds the mend of a misspelled key to the finding that was reported last.
    fn mend<'k>(&mut self, entry: &Entry, known: impl Iterator<Item = &'k str>) {
        if let Some(last) = self.findings.last_mut() {
            last.mend = only_near(&entry.key, known).map(|meant| Mend::word(&entry.key, meant));
        }
    }

    pub(super) fn report(&mut self, severity: Severity, at: Mark, key: &str, message: String) {
        let finding = Finding::new(Rule::LoraSettings, severity, message, Some(at));
        self.findings.push(Finding { key: Some(key.to_owned()), ..finding });
    }
}
