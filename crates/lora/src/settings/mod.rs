//! The key `lora` of a `.travis.yml`: a team's settings for its training configs.

mod gates;
mod inputs;
mod keys;
mod publish;
mod reader;
mod train;

use std::collections::BTreeMap;
use std::time::Duration;

use globset::GlobSet;

use super::Finding;
use super::smoke::Ask;
use crate::domain::{Rule, Severity};
use crate::yaml::{self, Mark, Node};
pub use publish::Publish;
pub use train::{Change, Train, When};

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
    /// The whole trainings.
    pub train: Vec<Train>,
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
        keys::read(Self { given: true, ..Self::default() }, node)
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

    /// Returns the paths of the data that the service brings, from the root of the repository. Each may be missing in the
    /// commit.
    pub fn places(&self) -> impl Iterator<Item = &str> {
        self.train.iter().flat_map(|train| &train.inputs).map(|input| input.place())
    }

    /// Reads the settings from a `.travis.yml`. Their problems are dropped, because the plan reports them.
    pub fn of_travis(text: &[u8]) -> Self {
        let document = std::str::from_utf8(text).ok().and_then(|text| yaml::read(text).ok());
        let entry = document.and_then(|document| document.root?.take("lora"));
        entry.map(|entry| Self::read(&entry.value).0).unwrap_or_default()
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
