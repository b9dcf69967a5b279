//! The builds and events that a receiver of the operator is told of.

use anyhow::Context as _;
use globset::{GlobBuilder, GlobMatcher};
use serde::Deserialize;
use serde_json::json;

use crate::domain::{BuildState, RepoName};
use crate::travis::notifications::{Channel, Event};

/// Frequency of messages about events of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Frequency {
    Always,
    Never,
    /// Only when the result differs from that of the build before.
    Change,
}

impl Frequency {
    pub(super) fn always() -> Self {
        Self::Always
    }

    pub(super) fn never() -> Self {
        Self::Never
    }

    pub(super) fn change() -> Self {
        Self::Change
    }

    fn word(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Never => "never",
            Self::Change => "change",
        }
    }
}

/// Setting for messages about publications, which otherwise follow those for successes and failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnPublish {
    Always,
    Never,
}

/// Patterns of repositories and branches.
#[derive(Debug, Clone, Copy)]
pub struct Audience<'a> {
    pub repos: &'a [String],
    pub branches: &'a [String],
}

impl Audience<'_> {
    /// Rejects patterns that cannot be read.
    ///
    /// # Errors
    /// Fails with the pattern.
    pub fn check(self) -> anyhow::Result<()> {
        for pattern in self.repos.iter().chain(self.branches) {
            glob(pattern).with_context(|| format!("{pattern:?} is not a pattern such as acme/*"))?;
        }
        Ok(())
    }

    /// Returns true if builds of this repository and branch are among them.
    pub fn has(self, repo: &RepoName, branch: Option<&str>) -> bool {
        let matches = |patterns: &[String], text: &str| {
            patterns.iter().any(|pattern| glob(pattern).is_ok_and(|glob| glob.is_match(text)))
        };
        // A build of a tag has no branch. Its result is of interest wherever that of the repository is.
        matches(self.repos, &repo.to_string()) && branch.is_none_or(|branch| matches(self.branches, branch))
    }
}

/// Frequencies for each kind of event.
#[derive(Debug, Clone, Copy)]
pub struct Occasions {
    pub on_success: Frequency,
    pub on_failure: Frequency,
    pub on_start: Frequency,
    pub on_cancel: Frequency,
    pub on_error: Frequency,
    pub on_publish: Option<OnPublish>,
}

impl Occasions {
    /// Returns true if an event is one of them.
    pub fn ask(self, event: Event, state: BuildState, previous: Option<BuildState>) -> bool {
        let on_publish = self.on_publish.map(|when| match when {
            OnPublish::Always => "always",
            OnPublish::Never => "never",
        });
        let when = json!({
            "on_success": self.on_success.word(), "on_failure": self.on_failure.word(),
            "on_start": self.on_start.word(), "on_cancel": self.on_cancel.word(), "on_error": self.on_error.word(),
            "on_publish": on_publish,
        });
        when.as_object().is_some_and(|when| Channel::Slack.asks(when, event, state, previous))
    }
}

fn glob(pattern: &str) -> Result<GlobMatcher, globset::Error> {
    Ok(GlobBuilder::new(pattern).case_insensitive(true).build()?.compile_matcher())
}
