//! The interface to GitHub: its payloads, our statuses, and our comments. The only module that names octocrab.
//!
//! Gitea and Forgejo have the same requests as far as we need them. So one client speaks to all servers: it chooses the
//! server by the owner of the repository (see [`ForgeConfig`]).
//!
//! This module does not know the database: `web` and `intake` pass payloads in, and `outbox` passes wishes in.

mod access;
mod app;
mod check_run;
pub mod event;
mod forge;
mod missed;
mod people;
mod pulls;
mod releases;
mod repository;
mod request;
mod secrets;
pub mod signature;
mod status;
mod token;

pub use access::{Access, Holder, Target};
pub use app::{AppFacts, AppKey, AppKeys, CALLBACK, InstallationFacts, NewApp, NotAnAppKey, allows, manifest};
pub use check_run::{Action, Annotation, CheckRun, KnownCheck, MAX_SUMMARY, Shown};
pub use forge::{ForgeConfig, GITHUB};
pub use missed::{DeliveryLog, Hook, LoggedDelivery, OpenPulls};
pub use people::{GitHubUser, OAuthClient};
pub use pulls::{Comment, KnownPull, LabelSet, NewComment, Reaction, Written};
pub use releases::{Asset, NewAsset, NewRelease, Release};
pub use repository::KnownRepository;
pub use secrets::{Scope, WebhookSecrets};
pub use status::{CommitStatus, Sent};
pub use token::Token;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::Context as _;
use octocrab::Octocrab;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use tokio::sync::OnceCell;
use url::{Origin, Url};

use self::app::Installations;
use self::forge::Forge;

/// `[github]` of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GitHubConfig {
    /// Address of the REST API; `https://HOST/api/v3` for GitHub Enterprise Server, and `https://api.SUBDOMAIN.ghe.com`
    /// for GitHub Enterprise Cloud with data residency.
    pub api_url: Url,
    /// Token that may read the repositories and write commit statuses.
    pub token: Option<SecretString>,
    /// GitHub's number of the GitHub App.
    pub app_id: Option<u64>,
    /// Private keys of the GitHub App.
    pub app_private_key: AppKeys,
    /// Credentials with which the GitHub App logs people in.
    pub client_id: Option<String>,
    pub client_secret: Option<SecretString>,
    /// Secrets that sign the webhooks of all repositories.
    pub webhook_secret: WebhookSecrets,
    /// Secrets that sign the webhooks of one owner or repository.
    pub webhook_secrets: BTreeMap<Scope, WebhookSecrets>,
    /// Time limit for a request. After it, the request is retried later.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// True if builds of repositories with the App have check runs.
    pub checks: bool,
    /// True if pull requests have a comment with the state of their builds.
    pub comment: bool,
    /// Largest number of statuses that are set in a minute; 0 for any number.
    pub statuses_per_minute: u32,
    /// Largest number of statuses that are set in an hour; 0 for any number.
    pub statuses_per_hour: u32,
}

impl Default for GitHubConfig {
    fn default() -> Self {
        Self {
            api_url: Url::parse("https://api.github.com").unwrap_or_else(|_| unreachable!("a constant that parses")),
            token: None,
            app_id: None,
            app_private_key: AppKeys::default(),
            client_id: None,
            client_secret: None,
            webhook_secret: WebhookSecrets::default(),
            webhook_secrets: BTreeMap::new(),
            timeout: Duration::from_secs(10),
            checks: false,
            comment: false,
            // GitHub's documented limits are 80 and 500 for all that a token creates.
            statuses_per_minute: 60,
            statuses_per_hour: 450,
        }
    }
}

impl GitHubConfig {
    /// Returns the configured credentials for logins.
    ///
    /// # Errors
    /// Fails when only one of both is set.
    pub fn oauth(&self) -> anyhow::Result<Option<OAuthClient>> {
        let id = self.client_id.clone().filter(|id| !id.is_empty());
        let secret = self.client_secret.clone().filter(|secret| !secret.expose_secret().is_empty());
        match (id, secret) {
            (Some(id), Some(secret)) => Ok(Some(OAuthClient { id, secret })),
            (None, None) => Ok(None),
            _ => anyhow::bail!("github.client_id and github.client_secret belong together: set both, or none"),
        }
    }

    /// Returns the origin at which this GitHub serves repositories to git: the only place besides the API that may see
    /// the token.
    pub fn clone_origin(&self) -> Origin {
        let host = self.api_url.host_str().and_then(|host| host.strip_prefix("api."));
        // GHE.com is GitHub Enterprise Cloud with data residency.
        match host.filter(|host| *host == "github.com" || host.ends_with(".ghe.com")) {
            Some(host) => Origin::Tuple("https".to_owned(), url::Host::Domain(host.to_owned()), 443),
            None => self.api_url.origin(),
        }
    }
}

/// A client of GitHub's REST API.
#[derive(Debug, Clone)]
pub struct Client {
    octocrab: Octocrab,
    /// The personal token.
    token: Option<SecretString>,
    installations: Arc<Installations>,
    /// GitHub's number of the personal token's account, once it was asked.
    account: Arc<OnceCell<i64>>,
    /// Credentials for logins.
    oauth: Arc<RwLock<Option<OAuthClient>>>,
    api_url: Url,
    clone_origin: Origin,
    timeout: Duration,
    /// Name of the server, for messages.
    server: &'static str,
    /// Owner of the rate limit of the personal token.
    person: Holder,
    /// The other servers.
    forges: Arc<[Forge]>,
}

/// Reason why GitHub did not accept a request.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// GitHub asks to wait at least this long. It would answer every other request in the same way.
    #[error("{by} asks to wait {}: {said}", humantime::format_duration(*.wait))]
    RateLimited {
        /// Name of the server.
        by: &'static str,
        /// Time to wait.
        wait: Duration,
        /// Message of GitHub.
        said: String,
    },
    /// GitHub, or the connection to it, is broken; a retry helps.
    #[error("{0}")]
    Broken(String),
    /// The commit has as many statuses of this context as GitHub keeps, and gets no other one.
    #[error("GitHub keeps 1,000 statuses for a commit and context, and accepts no more: {said}")]
    Full {
        /// Message of GitHub.
        said: String,
    },
    /// No request can express the status, as the stored name of its repository is not one.
    #[error("the status cannot be sent: {0}")]
    Unsendable(String),
    /// GitHub gives no token for the repository; a person has to install the App there, or to allow it more.
    #[error("{0}")]
    NoAccess(String),
    /// GitHub rejects the request as it is; a person has to change something, such as the token's rights.
    #[error("{by} refused ({status}): {said}")]
    Refused {
        /// Name of the server.
        by: &'static str,
        /// Status code of HTTP.
        status: u16,
        /// Message of GitHub.
        said: String,
    },
}

impl Client {
    /// Makes a client with the configured address, token and App.
    ///
    /// # Errors
    /// Fails when the address cannot be used in a request, and when the App's key cannot be read.
    pub fn new(config: &GitHubConfig) -> anyhow::Result<Self> {
        Ok(Self {
            octocrab: octocrab(&config.api_url, config.timeout).context("github.api_url cannot be used")?,
            token: config.token.clone().filter(|token| !token.expose_secret().is_empty()),
            installations: Arc::new(Installations::new(config.app_keys()?)),
            account: Arc::default(),
            oauth: Arc::new(RwLock::new(config.oauth()?)),
            api_url: config.api_url.clone(),
            clone_origin: config.clone_origin(),
            timeout: config.timeout,
            server: "GitHub",
            person: Holder::Person,
            forges: Arc::new([]),
        })
    }

    /// Returns true if there is a personal token.
    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Returns the credentials for logins, if there are any.
    pub fn oauth(&self) -> Option<OAuthClient> {
        self.oauth.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Uses other credentials for logins.
    pub fn set_oauth(&self, client: Option<OAuthClient>) {
        *self.oauth.write().unwrap_or_else(PoisonError::into_inner) = client;
    }
}

fn octocrab(api_url: &Url, timeout: Duration) -> anyhow::Result<Octocrab> {
    // octocrab's `retry` feature is off: its retries come at once and would multiply those of the outbox.
    let client = Octocrab::builder()
        .base_uri(api_url.as_str().trim_end_matches('/'))?
        .set_connect_timeout(Some(timeout))
        .set_read_timeout(Some(timeout))
        .set_write_timeout(Some(timeout))
        .build();
    client.context("cannot make a client")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_finds_each_kind_of_github() {
        for (api_url, origin) in [
            ("https://api.github.com", "https://github.com"),
            ("https://api.octocorp.ghe.com", "https://octocorp.ghe.com"),
            ("https://github.example.org/api/v3", "https://github.example.org"),
            ("http://127.0.0.1:8080/api/v3", "http://127.0.0.1:8080"),
            ("https://api.ghe.com", "https://api.ghe.com"),
            ("https://api.example.org", "https://api.example.org"),
            ("https://octocorp.ghe.com", "https://octocorp.ghe.com"),
        ] {
            let config = GitHubConfig { api_url: Url::parse(api_url).unwrap(), ..GitHubConfig::default() };
            assert_eq!(config.clone_origin().ascii_serialization(), origin, "{api_url}");
        }
    }
}
