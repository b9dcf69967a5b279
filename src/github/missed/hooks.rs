//! Webhooks at GitHub, and GitHub's logs of their deliveries.

use std::fmt;

use chrono::{DateTime, Utc};
use http::Method;
use http::header::LINK;
use serde::Deserialize;

use crate::domain::RepoName;
use crate::github::request::Answer;
use crate::github::{Client, SendError};

/// Maximum size of an answer, in bytes.
const MAX_ANSWER: usize = 4 << 20;

/// A log of deliveries at GitHub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryLog {
    /// Log of the App's webhook.
    App,
    /// Log of a repository's webhook, by GitHub's number of the webhook.
    Hook(RepoName, i64),
    /// Log of an organization's webhook.
    Organization(String, i64),
}

impl DeliveryLog {
    fn path(&self) -> String {
        match self {
            Self::App => "/app/hook/deliveries".to_owned(),
            Self::Hook(repo, id) => format!("/repos/{repo}/hooks/{id}/deliveries"),
            Self::Organization(owner, id) => format!("/orgs/{owner}/hooks/{id}/deliveries"),
        }
    }
}

impl fmt::Display for DeliveryLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::App => f.write_str("the GitHub App"),
            Self::Hook(repo, id) => write!(f, "webhook {id} of {repo}"),
            Self::Organization(owner, id) => write!(f, "webhook {id} of {owner}"),
        }
    }
}

/// A try of GitHub to send a delivery.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LoggedDelivery {
    /// GitHub's number of the try.
    pub id: i64,
    /// Id of the delivery, which all tries have.
    pub guid: String,
    pub delivered_at: DateTime<Utc>,
    /// Our answer's code of HTTP; another number if there was none.
    pub status_code: i64,
}

impl LoggedDelivery {
    /// Returns true if the try has not arrived.
    pub fn has_failed(&self) -> bool {
        !(200..300).contains(&self.status_code)
    }
}

/// A webhook of a repository or an organization.
#[derive(Debug, Clone, Deserialize)]
pub struct Hook {
    /// GitHub's number of the webhook.
    pub id: i64,
    pub config: HookConfig,
}

/// Settings of a webhook. Its secret is not read.
#[derive(Debug, Clone, Deserialize)]
pub struct HookConfig {
    /// Address to which GitHub sends the deliveries.
    #[serde(default)]
    pub url: String,
}

impl Client {
    /// Returns the address of the App's webhook.
    ///
    /// # Errors
    /// Fails when GitHub did not answer, or did not accept the App's key.
    pub async fn app_hook_url(&self) -> Result<String, SendError> {
        let answer = self.ask_as_app::<()>(Method::GET, "/app/hook/config", None).await?;
        Ok(self.read::<HookConfig>(answer, MAX_ANSWER).await?.url)
    }

    /// Lists the webhooks of a repository, at most a hundred, with the personal token.
    ///
    /// # Errors
    /// Fails when GitHub did not answer, and when the token may not see them.
    pub async fn hooks(&self, repo: &RepoName) -> Result<Vec<Hook>, SendError> {
        let path = format!("/repos/{repo}/hooks?per_page=100");
        let answer = self.ask_for_log(None, Method::GET, &path).await?;
        self.read(answer, MAX_ANSWER).await
    }

    /// Lists the webhooks of the organization that owns a repository, at most a hundred, with the personal token; `None`
    /// if GitHub shows them to nobody with this token, as for a person's repository.
    ///
    /// # Errors
    /// Fails when GitHub did not answer.
    pub async fn organization_hooks(&self, repo: &RepoName) -> Result<Option<Vec<Hook>>, SendError> {
        let path = format!("/orgs/{}/hooks?per_page=100", repo.owner());
        match self.ask_for_log(None, Method::GET, &path).await {
            Ok(answer) => Ok(Some(self.read(answer, MAX_ANSWER).await?)),
            Err(SendError::Refused { status: 403 | 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads a page of a log, newest first, with the path of the next page: the first one for `None`. GitHub's own filter
    /// is of no use, as it leaves out deliveries without any answer.
    ///
    /// # Errors
    /// Fails when GitHub did not answer, and when the token may not read the log.
    pub async fn logged_deliveries(
        &self,
        log: &DeliveryLog,
        next: Option<&str>,
    ) -> Result<(Vec<LoggedDelivery>, Option<String>), SendError> {
        let first = format!("{}?per_page=100", log.path());
        let answer = self.ask_for_log(Some(log), Method::GET, next.unwrap_or(&first)).await?;
        let next = self.next_page(&answer);
        Ok((self.read(answer, MAX_ANSWER).await?, next))
    }

    /// Asks GitHub to send a delivery again.
    ///
    /// # Errors
    /// Fails when GitHub did not answer or refuses.
    pub async fn redeliver(&self, log: &DeliveryLog, id: i64) -> Result<(), SendError> {
        let path = format!("{}/{id}/attempts", log.path());
        self.ask_for_log(Some(log), Method::POST, &path).await.map(drop)
    }

    async fn ask_for_log(&self, log: Option<&DeliveryLog>, method: Method, path: &str) -> Result<Answer, SendError> {
        match log {
            Some(DeliveryLog::App) => self.ask_as_app::<()>(method, path, None).await,
            _ => self.accepted(self.follow::<()>(method, path, None, self.token.as_ref()).await?).await,
        }
    }

    /// Returns the path of the next page, below the address of the API, which is the only place that may see a token.
    fn next_page(&self, answer: &Answer) -> Option<String> {
        let links = answer.headers().get(LINK)?.to_str().ok()?;
        let link = links.split(',').find(|link| link.contains("rel=\"next\""))?;
        let (address, _) = link.trim().strip_prefix('<')?.split_once('>')?;
        Some(address.strip_prefix(self.api_url.as_str().trim_end_matches('/'))?.to_owned())
    }
}
