//! The reader of settings: it takes values out of the tree, and reports what is wrong with what is right.

use std::time::Duration;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::domain::{Rule, Severity, only_near};
use crate::yaml::{Data, Entry, Mark, Node};
use crate::{Finding, Mend};

/// Maximum number of globs, rules, dialects or trainings.
pub(super) const MOST: usize = 100;

/// Allowed times of a training, in seconds. The limit of the server holds as well.
const TIMES: std::ops::RangeInclusive<u64> = 10..=30 * 86400;

/// Reads the time that a training may take.
pub(super) fn time(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok().filter(|time| TIMES.contains(&time.as_secs()))
}

#[derive(Default)]
pub(super) struct Reader {
    pub(super) findings: Vec<Finding>,
}

impl Reader {
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
    pub(super) fn mend<'k>(&mut self, entry: &Entry, known: impl Iterator<Item = &'k str>) {
        if let Some(last) = self.findings.last_mut() {
            last.mend = only_near(&entry.key, known).map(|meant| Mend::word(&entry.key, meant));
        }
    }

    pub(super) fn report(&mut self, severity: Severity, at: Mark, key: &str, message: String) {
        let finding = Finding::new(Rule::LoraSettings, severity, message, Some(at));
        self.findings.push(Finding { key: Some(key.to_owned()), ..finding });
    }
}
