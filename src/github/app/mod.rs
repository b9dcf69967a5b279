//! The GitHub App: its keys, its registration, its installations and their tokens; and a check of it with GitHub.

mod installation;
mod key;
mod keys;
mod manifest;

pub(super) use self::installation::Installations;
pub use self::key::{AppKey, NotAnAppKey};
pub use self::keys::AppKeys;
pub use self::manifest::{CALLBACK, NewApp, manifest};

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use http::Method;
use serde::Deserialize;
use url::Url;

use crate::domain::RepoName;
use crate::github::access::{Access, Target};
use crate::github::request::date_of;
use crate::github::{Client, SendError};

/// Maximum size of GitHub's answer about the App, in bytes.
const MAX_ANSWER: usize = 4 << 20;

/// Facts about the App at GitHub.
#[derive(Debug, Clone, Deserialize)]
pub struct AppFacts {
    /// Name of the App.
    pub name: String,
    /// Page of the App at GitHub.
    pub html_url: Url,
    /// Level of each permission that the App asks for, such as `write`.
    pub permissions: BTreeMap<String, String>,
    /// Names of the events that GitHub sends.
    pub events: Vec<String>,
    /// GitHub's clock.
    #[serde(skip)]
    pub date: Option<DateTime<Utc>>,
}

/// An installation of the App at GitHub.
#[derive(Debug, Clone, Deserialize)]
pub struct InstallationFacts {
    /// GitHub's number of the installation.
    pub id: i64,
    /// Owner of the repositories.
    pub account: Account,
    /// Level of each permission that the owner has allowed.
    pub permissions: BTreeMap<String, String>,
    pub suspended_at: Option<DateTime<Utc>>,
}

/// A person or an organization.
#[derive(Debug, Clone, Deserialize)]
pub struct Account {
    pub login: String,
}

/// Returns true if these permissions have the one that an access needs.
pub fn allows(permissions: &BTreeMap<String, String>, access: Access) -> bool {
    let (name, level) = access.permission();
    permissions.get(name).is_some_and(|given| given == level || given == "write" || given == "admin")
}

impl Client {
    /// Returns true if there is an App.
    pub fn has_app(&self) -> bool {
        self.installations.has_app()
    }

    /// Returns true if this is the number of our App.
    pub fn is_own_app(&self, id: u64) -> bool {
        self.installations.keys().iter().any(|key| key.app() == id)
    }

    /// Asks for the App itself.
    ///
    /// # Errors
    /// Fails when GitHub did not answer, or did not accept the App's key.
    pub async fn app(&self) -> Result<AppFacts, SendError> {
        let answer = self.ask_as_app::<()>(Method::GET, "/app", None).await?;
        let date = date_of(&answer);
        Ok(AppFacts { date, ..self.read(answer, MAX_ANSWER).await? })
    }

    /// Asks for the App's installations, at most a hundred.
    ///
    /// # Errors
    /// Fails when GitHub did not answer, or did not accept the App's key.
    pub async fn app_installations(&self) -> Result<Vec<InstallationFacts>, SendError> {
        let answer = self.ask_as_app::<()>(Method::GET, "/app/installations?per_page=100", None).await?;
        self.read(answer, MAX_ANSWER).await
    }

    /// Returns true if the App is installed on a repository.
    ///
    /// # Errors
    /// Fails when it is suspended there, and when GitHub did not answer.
    pub async fn has_installation(&self, repo: &RepoName) -> Result<bool, SendError> {
        Ok(self.installation(Target { repo, number: None }).await?.is_some())
    }
}
