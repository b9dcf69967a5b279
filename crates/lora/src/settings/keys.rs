//! The keys of `lora`, but for those of `lora.train`.

use std::time::Duration;

use super::reader::{MOST, Reader};
use super::{Level, OwnDialect, Settings, Wanted, train};
use crate::Finding;
use crate::domain::{Rule, Severity};
use crate::smoke::{MAX_RESOLUTION, MAX_STEPS};
use crate::yaml::{Entry, Node};

/// Allowed timeouts of a smoke job, in seconds. A longer job would not be a smoke job.
const TIMEOUT: std::ops::RangeInclusive<u64> = 10..=6 * 3600;

/// Reads the value of `lora:`.
pub(super) fn read(settings: Settings, node: &Node) -> (Settings, Vec<Finding>) {
    let mut keys = Keys { settings, reader: Reader::default() };
    keys.root(node);
    (keys.settings, keys.reader.findings)
}

struct Keys {
    settings: Settings,
    reader: Reader,
}

impl Keys {
    fn root(&mut self, node: &Node) {
        for entry in self.reader.entries("lora", node) {
            match entry.key.as_str() {
                "configs" => self.settings.configs = self.reader.globs("lora.configs", &entry.value),
                "command" => self.command(entry),
                "smoke" => self.smoke(&entry.value),
                "rules" => self.rules(&entry.value),
                "dialects" => entry.value.items().iter().take(MOST).for_each(|item| self.dialect(item)),
                "train" => self.settings.train = train::read(&mut self.reader, &entry.value),
                _ => self.reader.unknown(
                    "lora",
                    node,
                    entry,
                    &["configs", "command", "smoke", "train", "rules", "dialects"],
                ),
            }
        }
    }

    fn command(&mut self, entry: &Entry) {
        match entry.value.text() {
            Some(text) if text.contains("{config}") => self.settings.command = Some(text.to_owned()),
            _ => self.reader.wrong(
                "lora.command",
                entry.value.at,
                "a command with {config} where the config's path belongs",
            ),
        }
    }

    fn smoke(&mut self, node: &Node) {
        match node.text() {
            Some("true" | "changed") => return,
            Some("all") => return self.settings.smoke.wanted = Wanted::All,
            Some("false") => return self.settings.smoke.wanted = Wanted::Nothing,
            _ => {}
        }
        for entry in self.reader.entries("lora.smoke", node) {
            let text = entry.value.text().unwrap_or_default();
            match entry.key.as_str() {
                "configs" => match text {
                    "changed" => self.settings.smoke.wanted = Wanted::Changed,
                    "all" => self.settings.smoke.wanted = Wanted::All,
                    _ => self.reader.wrong("lora.smoke.configs", entry.value.at, "changed or all"),
                },
                "steps" => match text.parse().ok().filter(|steps| (1..=MAX_STEPS).contains(steps)) {
                    Some(steps) => self.settings.smoke.steps = steps,
                    None => self.reader.wrong("lora.smoke.steps", entry.value.at, "a number from 1 to 1000"),
                },
                "resolution" => {
                    let fits = |side: &u32| (64..=MAX_RESOLUTION).contains(side) && side.is_multiple_of(64);
                    match text.parse().ok().filter(fits) {
                        Some(side) => self.settings.smoke.resolution = side,
                        None => self.reader.wrong(
                            "lora.smoke.resolution",
                            entry.value.at,
                            "a multiple of 64 from 64 to 1024",
                        ),
                    }
                }
                "timeout" => {
                    let fits = |time: &Duration| TIMEOUT.contains(&time.as_secs());
                    match humantime::parse_duration(text).ok().filter(fits) {
                        Some(time) => self.settings.smoke.timeout = time,
                        None => self.reader.wrong("lora.smoke.timeout", entry.value.at, "a time such as 10m, up to 6h"),
                    }
                }
                _ => self.reader.unknown("lora.smoke", node, entry, &["configs", "steps", "resolution", "timeout"]),
            }
        }
    }

    fn rules(&mut self, node: &Node) {
        for entry in self.reader.entries("lora.rules", node).iter().take(MOST) {
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
                    self.reader.wrong(&format!("lora.rules.{}", entry.key), entry.value.at, "error, warning or off");
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
        self.reader.report(Severity::Warning, entry.at, &key, message);
        self.reader.mend(entry, Rule::ALL.iter().map(|rule| rule.name()));
    }

    fn dialect(&mut self, node: &Node) {
        let schema = node.get("schema").and_then(|entry| entry.value.text()).map(str::to_owned);
        let configs = node.get("configs").and_then(|entry| self.reader.globs("lora.dialects.configs", &entry.value));
        match (schema, configs) {
            (Some(schema), Some(configs)) => {
                self.settings.dialects.push(OwnDialect { schema, configs, at: node.at });
            }
            _ => self.reader.wrong("lora.dialects", node.at, "a list of {schema: FILE, configs: GLOB}"),
        }
    }
}
