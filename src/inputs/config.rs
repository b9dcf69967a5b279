//! `[inputs]` of the configuration: the data that train jobs may have, and where it comes from.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytesize::ByteSize;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use url::{Position, Url};

use crate::domain::RepoName;
use crate::executor::IpNetwork;
use crate::hub::keeps_secrets;
use crate::permits;
use crate::storage::{Bucket, BucketAccess};

/// `[inputs]` of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InputsConfig {
    /// Address of the Hugging Face Hub, or of a mirror.
    pub hub: Url,
    /// Maximum size of one data set or model.
    pub max_size: ByteSize,
    /// Maximum size of all of them on the disk. The least recently used are removed first.
    pub total_size: ByteSize,
    /// Time in which one must be complete.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// Networks that may be reached besides the internet.
    pub allow: Vec<IpNetwork>,
    /// Tokens that read on the Hub. Without one, what is public is read.
    pub huggingface: Vec<TokenConfig>,
    /// Tokens that read git repositories. They are sent to the host of the repository alone.
    pub git: Vec<TokenConfig>,
    /// Buckets of S3 services.
    pub s3: Vec<BucketConfig>,
    /// Folders of this machine from which data may come.
    pub folder: Vec<FolderConfig>,
}

/// A token that reads repositories elsewhere.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenConfig {
    /// Name of the entry, for the environment.
    pub name: String,
    /// Patterns of the repositories whose trainings may read with it, such as `acme/*`.
    pub repos: Vec<String>,
    /// Patterns of the repositories that it reads: `acme/*` on the Hub, and `git.example.org/acme/*` for git.
    pub from: Vec<String>,
    pub token: Option<SecretString>,
}

/// A bucket of an S3 service.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BucketConfig {
    /// Name of the entry, for the environment.
    pub name: String,
    /// Patterns of the repositories whose trainings may read it.
    pub repos: Vec<String>,
    pub bucket: String,
    /// Address of the service; Amazon's if it is empty.
    #[serde(default)]
    pub endpoint: String,
    #[serde(default = "usual_region")]
    pub region: String,
    /// Name of the key that reads. Without it, the role of the machine on AWS is used.
    #[serde(default)]
    pub access_key: String,
    #[serde(default)]
    pub secret_key: SecretString,
}

fn usual_region() -> String {
    "us-east-1".to_owned()
}

/// A folder of this machine.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FolderConfig {
    pub path: PathBuf,
    /// Patterns of the repositories whose trainings may read it.
    pub repos: Vec<String>,
}

impl Default for InputsConfig {
    fn default() -> Self {
        Self {
            hub: Url::parse("https://huggingface.co").unwrap_or_else(|_| unreachable!("a constant that parses")),
            max_size: ByteSize::gib(100),
            total_size: ByteSize::gib(300),
            timeout: Duration::from_secs(6 * 3600),
            allow: Vec::new(),
            huggingface: Vec::new(),
            git: Vec::new(),
            s3: Vec::new(),
            folder: Vec::new(),
        }
    }
}

impl InputsConfig {
    /// Returns the entry with whose token the trainings of a repository read one on the Hub.
    pub(super) fn token_for(&self, repo: &RepoName, from: &str) -> Option<&TokenConfig> {
        self.huggingface.iter().find(|entry| entry.is_for(repo, from))
    }

    /// Returns the entry with whose token the trainings of a repository read another one at this address. There is none
    /// for an address that shows the token to others on the way.
    pub(super) fn git_token_for(&self, repo: &RepoName, address: &Url) -> Option<&TokenConfig> {
        let path = address.path().trim_end_matches('/');
        let host = &address[Position::BeforeHost..Position::AfterPort];
        let from = format!("{host}{}", path.strip_suffix(".git").unwrap_or(path));
        self.git.iter().find(|entry| entry.is_for(repo, &from)).filter(|_| keeps_secrets(address))
    }

    /// Returns the entry with whose key the trainings of a repository read a bucket.
    pub(super) fn bucket_for(&self, repo: &RepoName, bucket: &str) -> Option<&BucketConfig> {
        let repo = repo.to_string();
        self.s3.iter().find(|entry| entry.bucket == bucket && permits::matches(&entry.repos, &repo))
    }

    /// Returns true if the trainings of a repository may read this path.
    pub(super) fn opens(&self, repo: &RepoName, path: &Path) -> bool {
        let repo = repo.to_string();
        self.folder.iter().any(|folder| path.starts_with(&folder.path) && permits::matches(&folder.repos, &repo))
    }

    /// Rejects values with which nothing could be fetched, or too much be read.
    ///
    /// # Errors
    /// Fails with a message for the operator.
    pub fn check(&self) -> anyhow::Result<()> {
        ensure!(self.max_size <= self.total_size, "inputs.max_size is larger than inputs.total_size");
        ensure!(keeps_secrets(&self.hub), "inputs.hub must be an https address, or tokens could be read on the way");
        for (kind, entries) in [("huggingface", &self.huggingface), ("git", &self.git)] {
            for (place, entry) in entries.iter().enumerate() {
                entry.check(kind).with_context(|| format!("inputs.{kind} {:?}", entry.name))?;
                let twice = entries[..place].iter().any(|earlier| earlier.name == entry.name);
                ensure!(!twice, "two entries of inputs.{kind} are named {:?}; names must differ", entry.name);
            }
        }
        for entry in &self.git {
            entry.check_hosts().with_context(|| format!("inputs.git {:?}", entry.name))?;
        }
        for (place, entry) in self.s3.iter().enumerate() {
            entry.check().with_context(|| format!("inputs.s3 {:?}", entry.name))?;
            let twice = self.s3[..place].iter().any(|earlier| earlier.name == entry.name);
            ensure!(!twice, "two entries of inputs.s3 are named {:?}; names must differ", entry.name);
        }
        for folder in &self.folder {
            let path = folder.path.display();
            let is_plain = folder.path.components().skip(1).all(|part| matches!(part, Component::Normal(_)));
            ensure!(folder.path.is_absolute() && is_plain, "inputs.folder {path}: it must be an absolute path");
            ensure!(folder.path != Path::new("/"), "inputs.folder /: name a folder that holds nothing but data");
            check_patterns(&folder.repos).with_context(|| format!("inputs.folder {path}"))?;
        }
        Ok(())
    }
}

impl BucketConfig {
    fn check(&self) -> anyhow::Result<()> {
        check_name(&self.name)?;
        ensure!(!self.repos.is_empty(), "it needs repos, such as [\"acme/*\"]");
        check_patterns(&self.repos)?;
        let has_secret = !self.secret_key.expose_secret().is_empty();
        let advice = "set both access_key and secret_key, or neither for the role of this machine on AWS";
        ensure!(self.access_key.is_empty() != has_secret, advice);
        let endpoint = Url::parse(&self.endpoint);
        let is_endpoint = endpoint.is_ok_and(|endpoint| matches!(endpoint.scheme(), "http" | "https"));
        ensure!(self.endpoint.is_empty() || is_endpoint, "endpoint must be an http or https address");
        self.open().map(drop)
    }

    pub(super) fn open(&self) -> anyhow::Result<Bucket> {
        let Self { bucket, endpoint, region, access_key, secret_key, .. } = self;
        Bucket::open(BucketAccess { bucket, endpoint, region, access_key, secret_key })
    }
}

fn check_name(name: &str) -> anyhow::Result<()> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let is_name = (1..=40).contains(&name.len()) && name.chars().all(is_plain);
    ensure!(is_name, "its name must be of a-z, 0-9 and -, at most 40 characters");
    Ok(())
}

impl TokenConfig {
    fn is_for(&self, repo: &RepoName, from: &str) -> bool {
        permits::matches(&self.repos, &repo.to_string()) && permits::matches(&self.from, from)
    }

    /// Returns the token as it is sent.
    pub(super) fn secret(&self) -> Option<SecretString> {
        self.token.as_ref().map(|token| SecretString::from(token.expose_secret().trim().to_owned()))
    }

    /// Rejects patterns that would send the token to hosts of somebody else's choice.
    fn check_hosts(&self) -> anyhow::Result<()> {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.:".contains(c);
        for pattern in &self.from {
            let host = pattern.split_once('/').map_or("", |(host, _)| host);
            let advice = "write the host in full, as in git.example.org/acme/*";
            ensure!(!host.is_empty() && host.chars().all(is_plain), "{pattern:?} names no single host: {advice}");
        }
        Ok(())
    }

    fn check(&self, kind: &str) -> anyhow::Result<()> {
        check_name(&self.name)?;
        ensure!(!self.repos.is_empty() && !self.from.is_empty(), "it needs repos and from, such as [\"acme/*\"]");
        check_patterns(&self.repos)?;
        check_patterns(&self.from)?;
        let (kind, name) = (kind.to_uppercase(), self.name.to_uppercase().replace('-', "_"));
        let variable = format!("TRAINYARD__INPUTS__{kind}__{name}__TOKEN");
        let token = self.token.as_ref().map(|token| token.expose_secret().trim()).filter(|token| !token.is_empty());
        let token = token.with_context(|| format!("it needs a token: set {variable}"))?;
        let is_sendable = token.bytes().all(|byte| byte.is_ascii_graphic());
        ensure!(is_sendable, "its token has characters that no request can carry");
        Ok(())
    }
}

fn check_patterns(patterns: &[String]) -> anyhow::Result<()> {
    for pattern in patterns {
        permits::glob(pattern).with_context(|| format!("{pattern:?} is not a pattern such as acme/*"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "[[huggingface]]\nname = 'a'\nrepos = ['acme/*']\nfrom = ['acme/*', 'studio/ink']\ntoken = 'hf_key'\n\
                       [[folder]]\npath = '/srv/data'\nrepos = ['acme/*']\n";

    fn config(text: &str) -> InputsConfig {
        toml::from_str(text).expect("a configuration")
    }

    #[test]
    fn a_token_and_a_folder_are_for_their_repositories() {
        let config = config(ONE);
        assert!(config.check().is_ok());
        let (ours, theirs): (RepoName, RepoName) = ("Acme/styles".parse().unwrap(), "mallory/styles".parse().unwrap());
        assert_eq!(config.token_for(&ours, "studio/Ink").map(|entry| entry.name.as_str()), Some("a"));
        assert!(config.token_for(&ours, "other/x").is_none() && config.token_for(&theirs, "acme/x").is_none());
        assert!(config.opens(&ours, Path::new("/srv/data/style")) && !config.opens(&ours, Path::new("/srv/data2")));
        assert!(!config.opens(&theirs, Path::new("/srv/data/style")));
    }

    #[test]
    fn a_token_for_git_goes_to_its_host_alone_and_to_no_open_address() {
        let entry =
            |from: &str| format!("[[git]]\nname = 'g'\nrepos = ['acme/*']\nfrom = ['{from}']\ntoken = 'glpat'\n");
        let read = config(&entry("git.example.org/data/*"));
        assert!(read.check().is_ok());
        let has_token = |repo: &str, address: &str| {
            read.git_token_for(&repo.parse().unwrap(), &Url::parse(address).unwrap()).is_some()
        };
        for address in ["https://git.example.org/data/style", "https://git.example.org:443/data/style.git"] {
            assert!(has_token("acme/styles", address) && !has_token("mallory/styles", address), "{address}");
        }
        for address in [
            "http://git.example.org/data/style",
            "https://git.example.org:8443/data/style",
            "https://git.example.org.mallory.org/data/style",
            "https://git.example.org/other/style",
            "https://git.example.org/data/deep/style",
        ] {
            assert!(!has_token("acme/styles", address), "{address}");
        }
        for pattern in ["*", "*/data/*", "git.{example,mallory}.org/*", "git.example.org"] {
            let error = format!("{:#}", config(&entry(pattern)).check().expect_err(pattern));
            assert!(error.contains("names no single host"), "{error}");
        }
    }

    #[test]
    fn what_fetches_nothing_or_gives_a_token_away_is_refused() {
        for (from, to, told) in [
            ("token = 'hf_key'", "", "set TRAINYARD__INPUTS__HUGGINGFACE__A__TOKEN"),
            ("token = 'hf_key'", "token = \"hf\\nkey\"", "no request can carry"),
            ("from = ['acme/*', 'studio/ink']", "from = []", "it needs repos and from"),
            ("'acme/*', 'studio", "'acme[', 'studio", "is not a pattern"),
            ("name = 'a'", "name = 'A b'", "its name must be"),
            ("'/srv/data'", "'srv/data'", "must be an absolute path"),
            ("'/srv/data'", "'/srv/../etc'", "must be an absolute path"),
            ("'/srv/data'", "'/'", "nothing but data"),
        ] {
            let error = format!("{:#}", config(&ONE.replace(from, to)).check().expect_err(told));
            assert!(error.contains(told) && !error.contains("hf_key"), "{error}");
        }
        let bucket = |more: &str| format!("[[s3]]\nname = 'b'\nrepos = ['acme/*']\nbucket = 'acme-data'\n{more}");
        assert!(config(&bucket("access_key = 'a'\nsecret_key = 'b'")).check().is_ok());
        for (text, told) in [
            (bucket("access_key = 'a'").as_str(), "set both access_key and secret_key"),
            (bucket("endpoint = 'minio'").as_str(), "endpoint must be an http or https address"),
            ("hub = 'http://hub.example.org'", "must be an https address"),
            ("max_size = '2 GB'\ntotal_size = '1 GB'", "larger than inputs.total_size"),
        ] {
            let error = format!("{:#}", config(text).check().expect_err(told));
            assert!(error.contains(told), "{error}");
        }
    }
}
