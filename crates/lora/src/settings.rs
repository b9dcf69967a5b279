//! Parser for the key `lora` of a `.travis.yml`: a team's settings for its training configs.

use std::collections::BTreeMap;
use std::time::Duration;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::smoke::{Ask, MAX_RESOLUTION, MAX_STEPS};
use super::{Finding, Mend};
use crate::domain::{Rule, Severity, only_near};
use crate::yaml::{self, Data, Entry, Mark, Node};

/// Allowed timeouts of a smoke job, in seconds. A longer job would not be a smoke job.
const TIMEOUT: std::ops::RangeInclusive<u64> = 10..=6 * 3600;
/// Maximum number of globs, rules or dialects.
const MOST: usize = 100;

/// The settings under `lora:`, with defaults for missing keys.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// True when the key `lora` is present.
    pub given: bool,
    /// The configs to check; `None` for all files whose content shows a trainer.
    pub configs: Option<GlobSet>,
    /// The command that starts a training, with `{config}` for the config's path; `None` for the trainer's usual
    /// command.
    pub command: Option<String>,
    pub smoke: SmokeSettings,
    /// The level of each rule that the team has set.
    pub rules: BTreeMap<Rule, Level>,
    /// The custom dialects.
    pub dialects: Vec<OwnDialect>,
}

/// `lora.smoke`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmokeSettings {
    /// The configs that get a smoke job.
    pub wanted: Wanted,
    /// Number of training steps.
    pub steps: u32,
    /// Side length of the training images, in pixels.
    pub resolution: u32,
    /// Wall-clock timeout of the job, at most what the server allows.
    pub timeout: Duration,
}

impl Default for SmokeSettings {
    fn default() -> Self {
        let Ask { steps, resolution, .. } = Ask::default();
        Self { wanted: Wanted::Changed, steps, resolution, timeout: Duration::from_secs(600) }
    }
}

/// The configs that get a smoke job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Configs that the push or pull request changes.
    Changed,
    /// All configs.
    All,
    /// No configs.
    Nothing,
}

/// The level of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Problems are reported with this severity.
    Is(Severity),
    /// Problems are not reported.
    Off,
}

/// A custom dialect, which the team describes with a JSON Schema.
#[derive(Debug, Clone)]
pub struct OwnDialect {
    /// The schema's path in the repository.
    pub schema: String,
    /// The configs that the schema describes.
    pub configs: GlobSet,
    /// Position of the entry in the `.travis.yml`.
    pub at: Mark,
}

impl Settings {
    /// Reads the value of `lora:`, and returns the settings with their problems.
    pub fn read(node: &Node) -> (Self, Vec<Finding>) {
        let mut reader = Reader { settings: Self { given: true, ..Self::default() }, findings: Vec::new() };
        reader.root(node);
        (reader.settings, reader.findings)
    }

    /// Returns true if the team wants a config at this path to be checked.
    pub fn covers(&self, path: &str) -> bool {
        let is_own = || self.dialects.iter().any(|dialect| dialect.configs.is_match(path));
        self.configs.as_ref().is_none_or(|globs| globs.is_match(path) || is_own())
    }

    /// Returns the severity that the team gives a problem; `None` if it is not to be reported.
    pub fn severity(&self, rule: Rule, usual: Severity) -> Option<Severity> {
        match self.rules.get(&rule) {
            None => Some(usual),
            Some(Level::Is(severity)) => Some(*severity),
            Some(Level::Off) => None,
        }
    }

    /// Reads the settings from a `.travis.yml`. Their problems are dropped, because the plan reports them.
    pub fn of_travis(text: &[u8]) -> Self {
        let document = std::str::from_utf8(text).ok().and_then(|text| yaml::read(text).ok());
        let entry = document.and_then(|document| document.root?.take("lora"));
        entry.map(|entry| Self::read(&entry.value).0).unwrap_or_default()
    }
}

struct Reader {
    settings: Settings,
    findings: Vec<Finding>,
}

impl Reader {
    fn root(&mut self, node: &Node) {
        for entry in self.entries("lora", node) {
            match entry.key.as_str() {
                "configs" => self.settings.configs = self.globs("lora.configs", &entry.value),
                "command" => self.command(entry),
                "smoke" => self.smoke(&entry.value),
                "rules" => self.rules(&entry.value),
                "dialects" => entry.value.items().iter().take(MOST).for_each(|item| self.dialect(item)),
                "train" => self.report(
                    Severity::Warning,
                    entry.at,
                    "lora.train",
                    "`lora.train` has no effect yet: full trainings are not started".to_owned(),
                ),
                _ => self.unknown("lora", node, entry, &["configs", "command", "smoke", "rules", "dialects"]),
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
    fn globs(&mut self, key: &str, node: &Node) -> Option<GlobSet> {
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

    fn entries<'a>(&mut self, key: &str, node: &'a Node) -> &'a [Entry] {
        if !matches!(node.data, Data::Map(_)) && !node.is_null() {
            self.wrong(key, node.at, "a map");
        }
        node.entries()
    }

    fn wrong(&mut self, key: &str, at: Mark, wanted: &str) {
        self.report(Severity::Error, at, key, format!("`{key}` has to be {wanted}"));
    }

    fn unknown(&mut self, map: &str, node: &Node, entry: &Entry, known: &[&str]) {
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

    fn report(&mut self, severity: Severity, at: Mark, key: &str, message: String) {
        let finding = Finding::new(Rule::LoraSettings, severity, message, Some(at));
        self.findings.push(Finding { key: Some(key.to_owned()), ..finding });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Settings, Vec<String>) {
        let document = crate::yaml::read(text).expect("YAML");
        let (settings, findings) = Settings::read(&document.root.expect("a value"));
        (settings, findings.into_iter().map(|finding| finding.message).collect())
    }

    #[test]
    fn everything_that_can_be_said() {
        let (settings, wrong) = read(
            "configs: 'configs/**/*.yaml'\ncommand: python t.py {config}\n\
             smoke: {configs: all, steps: 5, resolution: 256, timeout: 15m}\n\
             rules: {private-path: error, camel-case: off}\n\
             dialects: [{schema: ci/ours.json, configs: [train/*.yaml, more/*.yml]}]\n",
        );
        assert_eq!(wrong, Vec::<String>::new());
        assert!(settings.covers("configs/a/b.yaml") && !settings.covers("other/b.yaml"));
        assert_eq!(settings.command.as_deref(), Some("python t.py {config}"));
        let timeout = Duration::from_secs(900);
        assert_eq!(settings.smoke, SmokeSettings { wanted: Wanted::All, steps: 5, resolution: 256, timeout });
        assert_eq!(settings.rules[&Rule::PrivatePath], Level::Is(Severity::Error));
        assert_eq!(settings.rules[&Rule::CamelCase], Level::Off);
        assert!(settings.dialects[0].configs.is_match("more/x.yml"));
        assert!(!settings.dialects[0].configs.is_match("more/deep/x.yml"));
    }

    #[test]
    fn smoke_in_one_word() {
        for (text, wanted) in [("all", Wanted::All), ("false", Wanted::Nothing), ("true", Wanted::Changed)] {
            let (settings, wrong) = read(&format!("smoke: {text}"));
            assert_eq!((settings.smoke.wanted, wrong.len()), (wanted, 0), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_what_is_right() {
        for (text, told) in [
            ("- a", "`lora` has to be a map"),
            ("command: python train.py", "{config}"),
            ("smoke: {steps: 0}", "`lora.smoke.steps` has to be a number from 1 to 1000"),
            ("smoke: {resolution: 100}", "a multiple of 64"),
            ("smoke: {timeout: 3}", "such as 10m"),
            ("smoke: {stpes: 3}", "`lora.smoke.stpes` is not known"),
            ("smokes: {}", "`lora.smokes` is not known"),
            ("rules: {private-path: maybe}", "error, warning or off"),
            ("configs: {}", "a glob"),
            ("configs: '{a'", "a glob"),
            ("dialects: [{schema: x}]", "a list of {schema: FILE, configs: GLOB}"),
        ] {
            let (_, wrong) = read(text);
            assert!(wrong.iter().any(|message| message.contains(told)), "{text}: {wrong:?}");
        }
    }
}
