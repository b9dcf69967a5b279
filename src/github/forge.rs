//! Other servers that speak as GitHub does: Gitea and Forgejo.
//!
//! An owner's repositories are on one server: that of `[[forge]]` which lists the owner, otherwise GitHub. So a name such
//! as `acme/styles` means one repository, and a webhook of one server cannot speak for a repository of another one.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use http::Method;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use url::Url;

use super::app::Installations;
use super::{Client, Holder, SendError, WebhookSecrets, octocrab};
use crate::domain::RepoName;

/// Name of GitHub among the forges.
pub const GITHUB: &str = "github";

/// `[[forge]]` of the configuration: a Gitea or Forgejo server.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForgeConfig {
    /// Name of the server, which its webhook's address has.
    pub name: String,
    pub kind: ForgeKind,
    /// Address of the server.
    pub url: Url,
    /// Owners whose repositories are on this server.
    pub owners: Vec<String>,
    /// Token that may read the repositories and write commit statuses.
    pub token: Option<SecretString>,
    /// Secrets that sign its webhooks.
    #[serde(default)]
    pub webhook_secret: WebhookSecrets,
}

/// Kind of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ForgeKind {
    Gitea,
    /// A fork of Gitea, with the same requests and payloads.
    Forgejo,
}

impl ForgeKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Gitea => "Gitea",
            Self::Forgejo => "Forgejo",
        }
    }
}

impl ForgeConfig {
    /// Returns true if an owner's repositories are on this server.
    pub fn has(&self, owner: &str) -> bool {
        self.owners.iter().any(|known| known.eq_ignore_ascii_case(owner))
    }
}

/// A server besides GitHub, with its client.
#[derive(Debug)]
pub(super) struct Forge {
    config: ForgeConfig,
    client: Client,
}

impl Forge {
    /// Makes the client of the server at this place of the configuration.
    pub(super) fn new(config: &ForgeConfig, place: usize, timeout: Duration) -> anyhow::Result<Self> {
        // Both serve git below the address of their pages.
        let mut api_url = config.url.clone();
        let base = api_url.path().trim_end_matches('/').to_owned();
        api_url.set_path(&format!("{base}/api/v1"));
        let client = Client {
            octocrab: octocrab(&api_url, timeout).with_context(|| format!("the url of forge {}", config.name))?,
            token: config.token.clone().filter(|token| !token.expose_secret().is_empty()),
            installations: Arc::new(Installations::new(Vec::new())),
            clone_origin: config.url.origin(),
            api_url,
            timeout,
            server: config.kind.as_str(),
            person: Holder::Forge(place),
            account: Arc::default(),
            oauth: Arc::default(),
            forges: Arc::new([]),
        };
        Ok(Self { config: config.clone(), client })
    }
}

impl Client {
    /// Adds the servers besides GitHub.
    ///
    /// # Errors
    /// Fails when the address of one cannot be used in a request.
    pub fn with_forges(self, forges: &[ForgeConfig]) -> anyhow::Result<Self> {
        let forges = forges.iter().enumerate().map(|(place, forge)| Forge::new(forge, place, self.timeout));
        Ok(Self { forges: forges.collect::<anyhow::Result<_>>()?, ..self })
    }

    /// Returns the client of the server that has a repository.
    pub(super) fn at(&self, repo: &RepoName) -> &Self {
        self.forge(repo).map_or(self, |forge| &forge.client)
    }

    /// Returns the name of the server that has a repository: [`GITHUB`], or that of a `[[forge]]`.
    pub fn forge_of(&self, repo: &RepoName) -> &str {
        self.forge(repo).map_or(GITHUB, |forge| &forge.config.name)
    }

    /// Returns the name of the server that has a repository, for messages.
    pub fn server_of(&self, repo: &RepoName) -> &'static str {
        self.at(repo).server
    }

    /// Returns true if there is a server besides GitHub.
    pub fn has_forges(&self) -> bool {
        !self.forges.is_empty()
    }

    /// Asks each server besides GitHub for a repository, which shows whether it takes the token. Lists their names and
    /// addresses with the results.
    pub async fn examine_forges(&self) -> Vec<(&str, &Url, Result<(), SendError>)> {
        let mut results = Vec::new();
        for Forge { config, client } in self.forges.iter() {
            let asked = client.follow::<()>(Method::GET, "/repos/search?limit=1", None, client.token.as_ref()).await;
            let result = match asked {
                Ok(answer) => client.accepted(answer).await.map(drop),
                Err(error) => Err(error),
            };
            results.push((config.name.as_str(), &config.url, result));
        }
        results
    }

    fn forge(&self, repo: &RepoName) -> Option<&Forge> {
        self.forges.iter().find(|forge| forge.config.has(repo.owner()))
    }
}
