//! The edge to GitHub: what it sends us, and what we tell it. The only module that names octocrab.
//!
//! It knows no database: `web` and `intake` hand in payloads, `outbox` hands in wishes.

pub mod event;
pub mod signature;
mod token;

pub use token::Token;

use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use octocrab::Octocrab;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use url::{Origin, Url};

use crate::domain::{CommitState, RepoName, Sha};

/// `[github]` of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The REST API's address; `https://HOST/api/v3` for GitHub Enterprise.
    pub api_url: Url,
    /// A token that may read the repositories and write commit statuses.
    pub token: Option<SecretString>,
    /// The secret that GitHub signs its webhooks with.
    pub webhook_secret: Option<SecretString>,
    /// A request that takes longer is given up and tried again later.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            api_url: Url::parse("https://api.github.com").unwrap_or_else(|_| unreachable!("a constant that parses")),
            token: None,
            webhook_secret: None,
            timeout: Duration::from_secs(10),
        }
    }
}

impl Config {
    /// Where this GitHub serves repositories to git: the one place that may see the token beside the API.
    pub fn clone_origin(&self) -> Origin {
        match self.api_url.host_str() {
            Some("api.github.com") => {
                Origin::Tuple("https".to_owned(), url::Host::Domain("github.com".to_owned()), 443)
            }
            _ => self.api_url.origin(),
        }
    }
}

type Answer = http::Response<http_body_util::combinators::BoxBody<bytes::Bytes, octocrab::Error>>;

/// A client of GitHub's REST API.
#[derive(Debug, Clone)]
pub struct Client {
    octocrab: Octocrab,
    api_url: Url,
    timeout: Duration,
}

/// Why GitHub did not take a request.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// It asks for patience, for this long at least. Every request would meet the same.
    #[error("GitHub asks to wait {}: {said}", humantime::format_duration(*.wait))]
    RateLimited {
        /// How long to wait.
        wait: Duration,
        /// What it said.
        said: String,
    },
    /// It, or the way to it, is broken; trying again helps.
    #[error("{0}")]
    Broken(String),
    /// It refuses this request as it is; somebody has to change something, such as the token's rights.
    #[error("GitHub refused ({status}): {said}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it said.
        said: String,
    },
}

/// What a successful request tells beside its result.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    /// GitHub's clock, to notice that ours is wrong.
    pub date: Option<DateTime<Utc>>,
}

/// A commit status to be posted.
#[derive(Debug, Clone)]
pub struct CommitStatus<'a> {
    /// The repository.
    pub repo: &'a RepoName,
    /// The commit.
    pub sha: &'a Sha,
    /// Its state.
    pub state: CommitState,
    /// Its context, such as `trainyard/push`.
    pub context: &'a str,
    /// Its description, at most 140 characters.
    pub description: &'a str,
    /// The page it leads to.
    pub target_url: Url,
}

#[derive(Serialize)]
struct StatusBody<'a> {
    state: CommitState,
    context: &'a str,
    description: &'a str,
    target_url: &'a str,
}

impl Client {
    /// A client with the configured address and token.
    ///
    /// # Errors
    /// When the address or the token cannot be used in a request.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        // Without octocrab's `retry` feature: its retries come at once and would multiply the outbox's own.
        let mut builder = Octocrab::builder()
            .base_uri(config.api_url.as_str().trim_end_matches('/'))
            .context("github.api_url cannot be used")?
            .set_connect_timeout(Some(config.timeout))
            .set_read_timeout(Some(config.timeout))
            .set_write_timeout(Some(config.timeout));
        if let Some(token) = &config.token {
            builder = builder.personal_token(token.expose_secret().to_owned());
        }
        let octocrab = builder.build().context("cannot make a GitHub client")?;
        Ok(Self { octocrab, api_url: config.api_url.clone(), timeout: config.timeout })
    }

    /// Posts a commit status, once.
    ///
    /// # Errors
    /// When GitHub did not answer, or did not take it.
    pub async fn post_status(&self, status: &CommitStatus<'_>) -> Result<Sent, SendError> {
        let route =
            format!("{}/repos/{}/statuses/{}", self.api_url.path().trim_end_matches('/'), status.repo, status.sha);
        let body = StatusBody {
            state: status.state,
            context: status.context,
            description: status.description,
            target_url: status.target_url.as_str(),
        };
        let response = self.taken(self.octocrab._post(route, Some(&body))).await?;
        Ok(Sent { date: date_of(&response) })
    }

    /// The answer to a request that GitHub took.
    async fn taken(&self, request: impl Future<Output = octocrab::Result<Answer>>) -> Result<Answer, SendError> {
        let response = match tokio::time::timeout(self.timeout, request).await {
            Err(_) => {
                let limit = humantime::format_duration(self.timeout);
                return Err(SendError::Broken(format!("no answer from {} within {limit}", self.api_url)));
            }
            Ok(Err(error)) => {
                let error = anyhow::Error::from(error);
                return Err(SendError::Broken(format!("cannot reach {}: {error:#}", self.api_url)));
            }
            Ok(Ok(response)) => response,
        };
        let header = |name: &str| response.headers().get(name)?.to_str().ok().map(str::to_owned);
        let code = response.status().as_u16();
        if response.status().is_success() {
            return Ok(response);
        }
        let retry_after = header("retry-after").and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
        let exhausted = header("x-ratelimit-remaining").as_deref() == Some("0");
        let reset = header("x-ratelimit-reset").and_then(|text| text.trim().parse::<i64>().ok());
        let said = self.words_of(response).await;
        Err(match code {
            403 | 429 if retry_after.is_some() || exhausted || code == 429 => {
                let until_reset = reset.map(|at| at - Utc::now().timestamp()).map(|s| s.clamp(1, 3600).unsigned_abs());
                let wait = retry_after.or(until_reset.map(Duration::from_secs)).unwrap_or(Duration::from_secs(60));
                SendError::RateLimited { wait: wait.min(Duration::from_secs(3600)), said }
            }
            500..=599 | 408 => SendError::Broken(format!("GitHub answered {code}: {said}")),
            _ => SendError::Refused { status: code, said },
        })
    }

    /// The `message` of an error answer, or its first words.
    async fn words_of(&self, response: Answer) -> String {
        use http_body_util::BodyExt as _;
        const ENOUGH: usize = 16 * 1024;
        let body = http_body_util::Limited::new(response.into_body(), ENOUGH);
        let collected = tokio::time::timeout(self.timeout, body.collect());
        let Ok(Ok(body)) = collected.await.map(|got| got.map_err(drop)) else { return "no reason given".to_owned() };
        let bytes = body.to_bytes();
        let message = serde_json::from_slice::<serde_json::Value>(&bytes)
            .ok()
            .and_then(|json| Some(json.get("message")?.as_str()?.to_owned()));
        let text = message.unwrap_or_else(|| String::from_utf8_lossy(&bytes).into_owned());
        text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(200).collect()
    }
}

/// GitHub's clock when it answered.
fn date_of(answer: &Answer) -> Option<DateTime<Utc>> {
    let date = answer.headers().get("date")?.to_str().ok()?;
    Some(DateTime::parse_from_rfc2822(date).ok()?.to_utc())
}
