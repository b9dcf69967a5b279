//! The policy for pull requests from forks: anybody can open one, and its code is a stranger's.
//!
//! The policy comes from the configuration alone. A pull request could change a file of the repository.

use std::collections::BTreeMap;

use anyhow::ensure;
use serde::Deserialize;

use crate::domain::{RepoName, Trigger};
use crate::github::Scope;
use crate::github::event::TRAIN_LABEL;

/// Treatment of pull requests from forks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForkPolicy {
    /// Jobs run as those of other pull requests.
    Run,
    /// Jobs wait until a person approves the commit. The lint runs at once, as it executes nothing of the repository.
    Approve,
    /// There is no build.
    Never,
}

/// `[forks]` of the configuration.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ForksConfig {
    /// Policy for repositories that `repositories` does not name; by default `approve` for public repositories, and
    /// `run` for private ones, which only their members can fork.
    pub policy: Option<ForkPolicy>,
    /// Policies for single owners or repositories.
    pub repositories: BTreeMap<Scope, ForkPolicy>,
    /// Name of the label by which a person approves the commit of a pull request. Without it, no label does.
    pub approve_label: String,
}

impl ForksConfig {
    /// Returns true if a label of this name approves the commit of a pull request.
    pub(super) fn is_approval(&self, label: &str) -> bool {
        !self.approve_label.is_empty() && self.approve_label == label
    }

    /// Rejects a label that asks for something else.
    ///
    /// # Errors
    /// Fails with a message for the operator.
    pub fn check(&self) -> anyhow::Result<()> {
        ensure!(
            self.approve_label != TRAIN_LABEL,
            "forks.approve_label: the label {TRAIN_LABEL} asks for a training; choose another one"
        );
        Ok(())
    }

    fn policy_of(&self, repo: &RepoName, is_private: bool) -> ForkPolicy {
        let named = Scope::around(repo).into_iter().find_map(|scope| self.repositories.get(&scope).copied());
        let usual = if is_private { ForkPolicy::Run } else { ForkPolicy::Approve };
        named.or(self.policy).unwrap_or(usual)
    }

    /// Returns the policy that holds for a trigger: `Run` when it comes from the repository itself.
    pub(super) fn policy(&self, trigger: &Trigger, is_private: bool) -> ForkPolicy {
        match trigger.pull_request.as_ref().is_some_and(|pull| pull.is_from_fork(&trigger.repo)) {
            true => self.policy_of(&trigger.repo, is_private),
            false => ForkPolicy::Run,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_approves_only_by_its_whole_name() {
        let of = |name: &str| ForksConfig { approve_label: name.to_owned(), ..ForksConfig::default() };
        assert!(of("ci: run").is_approval("ci: run"));
        for other in ["", "CI: run", "ci", "ci: run "] {
            assert!(!of("ci: run").is_approval(other), "{other}");
        }
        assert!(!of("").is_approval(""), "no label by default");
        assert!(of("train").check().is_err() && of("ci: run").check().is_ok());
    }

    #[test]
    fn the_narrowest_name_decides() {
        let config: ForksConfig =
            toml::from_str("policy = 'never'\nrepositories = {acme = 'approve', 'Acme/Styles' = 'run'}").unwrap();
        let of = |config: &ForksConfig, name: &str, is_private| config.policy_of(&name.parse().unwrap(), is_private);
        assert_eq!(of(&config, "acme/styles", false), ForkPolicy::Run);
        assert_eq!(of(&config, "ACME/other", true), ForkPolicy::Approve);
        assert_eq!(of(&config, "bob/other", true), ForkPolicy::Never);
        let usual = ForksConfig::default();
        assert_eq!(of(&usual, "bob/other", true), ForkPolicy::Run);
        assert_eq!(of(&usual, "bob/other", false), ForkPolicy::Approve);
    }
}
