//! `[publish]` of the configuration: the repositories that may publish, the places to which they may, and the people who
//! approve.

mod environment;

use anyhow::{Context as _, ensure};
use globset::{GlobBuilder, GlobMatcher};
use serde::Deserialize;

pub use self::environment::EnvironmentConfig;
use crate::domain::RepoName;
use crate::hub::HuggingFaceConfig;
use crate::plan::PublishPermits;
use crate::storage::S3Config;

/// `[publish]` of the configuration.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PublishConfig {
    /// Permissions to publish on the Hugging Face Hub.
    pub huggingface: Vec<HuggingFaceConfig>,
    /// Permissions to publish in buckets.
    pub s3: Vec<S3Config>,
    /// Patterns of the repositories that may publish releases at GitHub.
    pub releases: Vec<String>,
    /// Environments, whose people approve.
    pub environment: Vec<EnvironmentConfig>,
}

/// An entry with a name and the repositories that it is for.
struct Entry<'a> {
    kind: &'static str,
    name: &'a str,
    repos: &'a [String],
    /// Patterns of its places.
    to: &'a [String],
}

impl PublishConfig {
    /// Returns true if some repositories may publish releases at GitHub.
    pub fn has_releases(&self) -> bool {
        !self.releases.is_empty()
    }

    /// Returns what a repository may publish.
    pub fn of(&self, repo: &RepoName) -> PublishPermits {
        let is_for = |repos: &[String]| matches(repos, &repo.to_string());
        let huggingface = self.huggingface.iter().filter(|permission| is_for(&permission.repos));
        let s3 = self.s3.iter().filter(|permission| is_for(&permission.repos));
        let environments = self.environment.iter().filter(|environment| is_for(&environment.repos));
        PublishPermits {
            huggingface: huggingface.flat_map(|permission| permission.to.iter().cloned()).collect(),
            s3: s3.flat_map(|permission| permission.to.iter().cloned()).collect(),
            releases: is_for(&self.releases),
            environments: environments.map(|environment| environment.name.clone()).collect(),
            required: self.required(repo).map(str::to_owned),
        }
    }

    /// Returns the permission with which a repository publishes on the Hub.
    pub fn hub(&self, repo: &RepoName, target: &str) -> Option<&HuggingFaceConfig> {
        let repo = repo.to_string();
        self.huggingface.iter().find(|permission| matches(&permission.repos, &repo) && matches(&permission.to, target))
    }

    /// Returns the permission with which a repository publishes in a bucket.
    pub fn bucket(&self, repo: &RepoName, folder: &str) -> Option<&S3Config> {
        let repo = repo.to_string();
        self.s3.iter().find(|permission| matches(&permission.repos, &repo) && matches(&permission.to, folder))
    }

    /// Returns the environment without whose approval nothing of a repository is published.
    pub fn required(&self, repo: &RepoName) -> Option<&str> {
        let repo = repo.to_string();
        let required = self.environment.iter().find(|it| it.required && matches(&it.repos, &repo));
        required.map(|environment| environment.name.as_str())
    }

    /// Returns an environment of a repository.
    pub fn environment(&self, repo: &RepoName, name: &str) -> Option<&EnvironmentConfig> {
        let repo = repo.to_string();
        self.environment.iter().find(|it| it.name == name && matches(&it.repos, &repo))
    }

    /// Rejects permissions with which nothing could be published.
    ///
    /// # Errors
    /// Fails with a message for the operator.
    pub fn check(&self) -> anyhow::Result<()> {
        for pattern in &self.releases {
            check_pattern(pattern).context("publish.releases")?;
        }
        for permission in &self.huggingface {
            permission.check().with_context(|| format!("publish.huggingface {:?}", permission.name))?;
        }
        for permission in &self.s3 {
            permission.check().with_context(|| format!("publish.s3 {:?}", permission.name))?;
        }
        for environment in &self.environment {
            environment.check().with_context(|| format!("publish.environment {:?}", environment.name))?;
        }
        let entries = self.entries();
        for (place, entry) in entries.iter().enumerate() {
            entry.check().with_context(|| format!("{} {:?}", entry.kind, entry.name))?;
            let twice = entries[..place].iter().any(|earlier| (earlier.kind, earlier.name) == (entry.kind, entry.name));
            ensure!(!twice, "two entries of {} are named {:?}; names must differ", entry.kind, entry.name);
        }
        Ok(())
    }

    fn entries(&self) -> Vec<Entry<'_>> {
        let hub = self.huggingface.iter().map(|it| Entry {
            kind: "publish.huggingface",
            name: &it.name,
            repos: &it.repos,
            to: &it.to,
        });
        let s3 = self.s3.iter().map(|it| Entry { kind: "publish.s3", name: &it.name, repos: &it.repos, to: &it.to });
        let environments = self.environment.iter().map(|it| Entry {
            kind: "publish.environment",
            name: &it.name,
            repos: &it.repos,
            to: &it.repos,
        });
        hub.chain(s3).chain(environments).collect()
    }
}

impl Entry<'_> {
    fn check(&self) -> anyhow::Result<()> {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let has_name = (1..=40).contains(&self.name.len()) && self.name.chars().all(is_plain);
        ensure!(has_name, "its name must be of a-z, 0-9 and -, at most 40 characters");
        ensure!(!self.repos.is_empty() && !self.to.is_empty(), "it needs repos and places, such as [\"acme/*\"]");
        self.repos.iter().chain(self.to).try_for_each(|pattern| check_pattern(pattern))
    }
}

fn check_pattern(pattern: &str) -> anyhow::Result<()> {
    glob(pattern).with_context(|| format!("{pattern:?} is not a pattern such as acme/*"))?;
    Ok(())
}

/// Returns true if one of the patterns, such as `acme/*`, is one of this name.
pub fn matches(patterns: &[String], text: &str) -> bool {
    patterns.iter().any(|pattern| glob(pattern).is_ok_and(|glob| glob.is_match(text)))
}

/// Reads a pattern of names.
///
/// # Errors
/// Fails when the text is no pattern.
pub fn glob(pattern: &str) -> Result<GlobMatcher, globset::Error> {
    Ok(GlobBuilder::new(pattern).literal_separator(true).case_insensitive(true).build()?.compile_matcher())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permissions(text: &str) -> PublishConfig {
        toml::from_str(text).expect("permissions")
    }

    fn repo(name: &str) -> RepoName {
        name.parse().expect("a name")
    }

    const BOTH: &str = "[[huggingface]]\nname = 'a'\nrepos = ['acme/styles']\nto = ['acme/*']\ntoken = 'hf_a'\n\
                        [[huggingface]]\nname = 'b'\nrepos = ['acme/*']\nto = ['studio/ink']\ntoken = 'hf_b'\n";
    const BUCKET: &str = "[[s3]]\nname = 'models'\nrepos = ['acme/*']\nto = ['s3://models/**']\n";
    const ENVIRONMENT: &str = "[[environment]]\nname = 'production'\nrepos = ['acme/*']\napprovers = ['anna']\n";

    #[test]
    fn a_repository_publishes_with_the_permission_for_it_and_the_place() {
        let config = permissions(BOTH);
        let of = |name: &str, target: &str| config.hub(&repo(name), target).map(|permission| permission.name.as_str());
        assert_eq!(of("acme/styles", "acme/ink"), Some("a"));
        assert_eq!(of("Acme/styles", "Studio/ink"), Some("b"));
        assert_eq!(of("acme/other", "acme/ink"), None);
        assert_eq!(of("acme/styles", "mallory/ink"), None);
        assert_eq!(of("mallory/styles", "acme/ink"), None);
        assert_eq!(config.of(&repo("acme/styles")).huggingface, ["acme/*", "studio/ink"]);
        assert_eq!(config.of(&repo("mallory/styles")), PublishPermits::default());
    }

    #[test]
    fn buckets_releases_and_environments_are_for_their_repositories() {
        let config = permissions(&format!("releases = ['acme/styles']\n{BUCKET}{ENVIRONMENT}required = true\n"));
        let permits = config.of(&repo("acme/styles"));
        assert_eq!((permits.s3, permits.releases), (vec!["s3://models/**".to_owned()], true));
        assert_eq!(permits.required.as_deref(), Some("production"));
        assert!(!config.of(&repo("acme/other")).releases);
        assert_eq!(config.of(&repo("mallory/styles")), PublishPermits::default());
        assert!(config.bucket(&repo("acme/x"), "s3://models/ink/{build}").is_some());
        assert!(config.bucket(&repo("acme/x"), "s3://models-of-others/{build}").is_none());
        assert!(config.environment(&repo("acme/x"), "production").is_some());
        assert!(config.environment(&repo("mallory/x"), "production").is_none());
    }

    #[test]
    fn what_could_publish_nothing_or_give_a_secret_away_is_refused() {
        let one = "[[huggingface]]\nname = 'a'\nrepos = ['acme/*']\nto = ['acme/*']\ntoken = 'hf_key'\n";
        let all = format!("{one}{BUCKET}{ENVIRONMENT}");
        assert!(permissions(&all).check().is_ok());
        for (from, to, told) in [
            ("token = 'hf_key'", "", "set TRAINYARD__PUBLISH__HUGGINGFACE__A__TOKEN"),
            ("token = 'hf_key'", "token = \"hf\\nkey\"", "no request can carry"),
            ("repos = ['acme/*']", "repos = []", "it needs repos and places"),
            ("to = ['acme/*']", "to = ['acme[']", "is not a pattern"),
            ("name = 'a'", "name = 'A b'", "its name must be"),
            ("token", "endpoint = 'http://hub.example.org'\ntoken", "must be an https address"),
            ("to = ['s3:", "access_key = 'x'\nto = ['s3:", "set both access_key and secret_key"),
            ("to = ['s3:", "endpoint = 'ftp://x'\nto = ['s3:", "must be an http or https address"),
            ("approvers = ['anna']", "approvers = []", "it needs approvers"),
            ("approvers = ['anna']", "approvers = ['oidc:1']", "is not a login"),
        ] {
            let error = format!("{:#}", permissions(&all.replacen(from, to, 1)).check().expect_err(told));
            assert!(error.contains(told) && !error.contains("hf_key"), "{error}");
        }
        let error = permissions(&format!("{one}{one}")).check().expect_err("twice").to_string();
        assert!(error.contains("names must differ"), "{error}");
    }
}
