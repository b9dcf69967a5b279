//! `[[publish.huggingface]]` of the configuration: the repositories that may publish, and the places to which they may.

use anyhow::{Context as _, ensure};
use globset::{GlobBuilder, GlobMatcher};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use url::{Host, Url};

use crate::domain::RepoName;

/// `[publish]` of the configuration.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PublishConfig {
    /// Permissions to publish on the Hugging Face Hub. Without any, nothing is published.
    pub huggingface: Vec<HuggingFaceConfig>,
}

/// A permission to publish on the Hugging Face Hub.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HuggingFaceConfig {
    /// Name of the permission, for the environment.
    pub name: String,
    /// Patterns of the repositories that may publish, such as `acme/*`.
    pub repos: Vec<String>,
    /// Patterns of the repositories on the Hub, such as `acme/*`.
    pub to: Vec<String>,
    /// Token that may write there.
    pub token: Option<SecretString>,
    /// Address of the Hub.
    #[serde(default = "huggingface")]
    pub endpoint: Url,
}

fn huggingface() -> Url {
    Url::parse("https://huggingface.co").unwrap_or_else(|_| unreachable!("a constant that parses"))
}

impl PublishConfig {
    /// Returns the patterns of the places to which a repository may publish.
    pub fn open_to(&self, repo: &RepoName) -> Vec<String> {
        let of_repo = self.huggingface.iter().filter(|permission| matches(&permission.repos, &repo.to_string()));
        of_repo.flat_map(|permission| permission.to.iter().cloned()).collect()
    }

    /// Returns the permission with which a repository publishes to a place.
    pub fn find(&self, repo: &RepoName, target: &str) -> Option<&HuggingFaceConfig> {
        let repo = repo.to_string();
        self.huggingface.iter().find(|permission| matches(&permission.repos, &repo) && matches(&permission.to, target))
    }

    /// Rejects permissions with which nothing could be published.
    ///
    /// # Errors
    /// Fails with a message for the operator.
    pub fn check(&self) -> anyhow::Result<()> {
        for (place, permission) in self.huggingface.iter().enumerate() {
            permission.check().with_context(|| format!("publish.huggingface {:?}", permission.name))?;
            let twice = self.huggingface[..place].iter().any(|earlier| earlier.name == permission.name);
            ensure!(!twice, "two entries of publish.huggingface are named {:?}; names must differ", permission.name);
        }
        Ok(())
    }
}

impl HuggingFaceConfig {
    fn check(&self) -> anyhow::Result<()> {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let has_name = (1..=40).contains(&self.name.len()) && self.name.chars().all(is_plain);
        ensure!(has_name, "its name must be of a-z, 0-9 and -, at most 40 characters");
        ensure!(!self.repos.is_empty() && !self.to.is_empty(), "it needs repos and to, such as [\"acme/*\"]");
        for pattern in self.repos.iter().chain(&self.to) {
            glob(pattern).with_context(|| format!("{pattern:?} is not a pattern such as acme/*"))?;
        }
        let variable =
            format!("TRAINYARD__PUBLISH__HUGGINGFACE__{}__TOKEN", self.name.to_uppercase().replace('-', "_"));
        let token = self.token.as_ref().map(|token| token.expose_secret().trim()).filter(|token| !token.is_empty());
        let token = token.with_context(|| format!("it needs a token: set {variable}"))?;
        ensure!(
            token.bytes().all(|byte| byte.is_ascii_graphic()),
            "its token has characters that no request can carry"
        );
        ensure!(
            keeps_secrets(&self.endpoint),
            "its endpoint must be an https address, or the token could be read on the way"
        );
        Ok(())
    }
}

/// Returns true if nobody on the way to an address can read what is sent there.
pub fn keeps_secrets(address: &Url) -> bool {
    let is_local = match address.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    address.scheme() == "https" || (address.scheme() == "http" && is_local)
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

    const BOTH: &str = "[[huggingface]]\nname = 'a'\nrepos = ['acme/styles']\nto = ['acme/*']\ntoken = 'hf_a'\n\
                        [[huggingface]]\nname = 'b'\nrepos = ['acme/*']\nto = ['studio/ink']\ntoken = 'hf_b'\n";

    #[test]
    fn a_repository_publishes_with_the_permission_for_it_and_the_place() {
        let config = permissions(BOTH);
        let of = |repo: &str, target: &str| {
            config.find(&repo.parse().expect("a name"), target).map(|permission| permission.name.as_str())
        };
        assert_eq!(of("acme/styles", "acme/ink"), Some("a"));
        assert_eq!(of("Acme/styles", "Studio/ink"), Some("b"));
        assert_eq!(of("acme/other", "acme/ink"), None);
        assert_eq!(of("acme/styles", "mallory/ink"), None);
        assert_eq!(of("mallory/styles", "acme/ink"), None);
        assert_eq!(config.open_to(&"acme/styles".parse().expect("a name")), ["acme/*", "studio/ink"]);
        assert!(config.open_to(&"mallory/styles".parse().expect("a name")).is_empty());
    }

    #[test]
    fn what_could_publish_nothing_or_give_the_token_away_is_refused() {
        assert!(permissions(BOTH).check().is_ok());
        let one = "[[huggingface]]\nname = 'a'\nrepos = ['acme/*']\nto = ['acme/*']\ntoken = 'hf_key'\n";
        for (from, to, told) in [
            ("token = 'hf_key'", "", "set TRAINYARD__PUBLISH__HUGGINGFACE__A__TOKEN"),
            ("token = 'hf_key'", "token = \"hf\\nkey\"", "no request can carry"),
            ("repos = ['acme/*']", "repos = []", "it needs repos and to"),
            ("to = ['acme/*']", "to = ['acme[']", "is not a pattern"),
            ("name = 'a'", "name = 'A b'", "its name must be"),
            ("token", "endpoint = 'http://hub.example.org'\ntoken", "must be an https address"),
        ] {
            let error = format!("{:#}", permissions(&one.replace(from, to)).check().expect_err(told));
            assert!(error.contains(told) && !error.contains("hf_key"), "{error}");
        }
        let error = permissions(&format!("{one}{one}")).check().expect_err("twice").to_string();
        assert!(error.contains("names must differ"), "{error}");
    }
}
