//! The interface to GitHub: its payloads, and our statuses. The only module that names octocrab.
//!
//! This module does not know the database: `web` and `intake` pass payloads in, and `outbox` passes wishes in.

pub mod event;
mod repository;
mod secrets;
pub mod signature;
mod token;

pub use repository::KnownRepository;
pub use secrets::{Scope, WebhookSecrets};
pub use token::Token;

use std::collections::BTreeMap;

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
pub struct GitHubConfig {
    /// Address of the REST API; `https://HOST/api/v3` for GitHub Enterprise.
    pub api_url: Url,
    /// Token that may read the repositories and write commit statuses.
    pub token: Option<SecretString>,
    /// Secrets that sign the webhooks of all repositories.
    pub webhook_secret: WebhookSecrets,
    /// Secrets that sign the webhooks of one owner or repository.
    pub webhook_secrets: BTreeMap<Scope, WebhookSecrets>,
    /// Time limit for a request. After it, the request is retried later.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
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
            webhook_secret: WebhookSecrets::default(),
            webhook_secrets: BTreeMap::new(),
            timeout: Duration::from_secs(10),
            // GitHub's documented limits are 80 and 500 for all that a token creates.
            statuses_per_minute: 60,
            statuses_per_hour: 450,
        }
    }
}

impl GitHubConfig {
    /// Returns the origin at which this GitHub serves repositories to git: the only place besides the API that may see
    /// the token.
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
    clone_origin: Origin,
    timeout: Duration,
}

/// Reason why GitHub did not accept a request.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// GitHub asks to wait at least this long. It would answer every other request in the same way.
    #[error("GitHub asks to wait {}: {said}", humantime::format_duration(*.wait))]
    RateLimited {
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
    /// GitHub rejects the request as it is; a person has to change something, such as the token's rights.
    #[error("GitHub refused ({status}): {said}")]
    Refused {
        /// Status code of HTTP.
        status: u16,
        /// Message of GitHub.
        said: String,
    },
}

/// Facts that come with a successful request.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    /// GitHub's clock, by which a wrong clock here is noticed.
    pub date: Option<DateTime<Utc>>,
}

/// A commit status to post.
#[derive(Debug, Clone)]
pub struct CommitStatus<'a> {
    pub repo: &'a RepoName,
    pub sha: &'a Sha,
    pub state: CommitState,
    /// Context, such as `trainyard/push`.
    pub context: &'a str,
    /// Description, at most 140 characters.
    pub description: &'a str,
    /// Page that the status links to.
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
    /// Makes a client with the configured address and token.
    ///
    /// # Errors
    /// Fails when the address or the token cannot be used in a request.
    pub fn new(config: &GitHubConfig) -> anyhow::Result<Self> {
        // octocrab's `retry` feature is off: its retries come at once and would multiply those of the outbox.
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
        let (api_url, clone_origin) = (config.api_url.clone(), config.clone_origin());
        Ok(Self { octocrab, api_url, clone_origin, timeout: config.timeout })
    }

    /// Posts a commit status, without retries.
    ///
    /// # Errors
    /// Fails when GitHub did not answer, or did not accept the status.
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

    /// Returns the response to a request that GitHub accepted.
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
        let seconds = |name: &str| header(name).and_then(|text| text.trim().parse::<i64>().ok());
        let limit = Limit {
            retry_after: seconds("retry-after"),
            exhausted: seconds("x-ratelimit-remaining") == Some(0),
            // By GitHub's own clock, as ours may be wrong.
            reset_in: seconds("x-ratelimit-reset").zip(date_of(&response)).map(|(at, date)| at - date.timestamp()),
        };
        let said = self.words_of(response).await;
        let words = said.to_lowercase();
        if let Some(wait) = limit.wait(code, &words) {
            return Err(SendError::RateLimited { wait, said });
        }
        Err(match code {
            422 if words.contains("maximum number of statuses") => SendError::Full { said },
            500..=599 | 408 => SendError::Broken(format!("GitHub answered {code}: {said}")),
            _ => SendError::Refused { status: code, said },
        })
    }

    /// Returns the `message` of an error response with those of its `errors`, or its first words.
    async fn words_of(&self, response: Answer) -> String {
        use http_body_util::BodyExt as _;
        const ENOUGH: usize = 16 * 1024;
        let body = http_body_util::Limited::new(response.into_body(), ENOUGH);
        let collected = tokio::time::timeout(self.timeout, body.collect());
        let Ok(Ok(body)) = collected.await.map(|got| got.map_err(drop)) else { return "no reason given".to_owned() };
        let bytes = body.to_bytes();
        let message = serde_json::from_slice(&bytes).ok().and_then(|json| messages(&json));
        let text = message.unwrap_or_else(|| String::from_utf8_lossy(&bytes).into_owned());
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        words.chars().filter(|c| !c.is_control()).take(200).collect()
    }
}

/// Returns the message of an error, such as `Validation Failed`, with the messages that say why.
fn messages(error: &serde_json::Value) -> Option<String> {
    let message = error.get("message")?.as_str()?;
    let details = error.get("errors").and_then(|errors| errors.as_array()).into_iter().flatten();
    let details = details.filter_map(|detail| detail.as_str().or_else(|| detail.get("message")?.as_str()));
    Some(std::iter::once(message).chain(details).collect::<Vec<_>>().join(": "))
}

/// Headers of an answer that speak of GitHub's rate limits, in seconds.
struct Limit {
    retry_after: Option<i64>,
    /// True when the token has no requests left.
    exhausted: bool,
    reset_in: Option<i64>,
}

impl Limit {
    /// Longest time between two resets of the primary limit.
    const LONGEST: i64 = 3600;

    /// Returns the time for which an answer asks to wait, as GitHub's documentation of its limits says; `None` when the
    /// answer is not a rate limit. A secondary limit may come without any header, and then at least a minute is due.
    fn wait(&self, code: u16, words: &str) -> Option<Duration> {
        if !matches!(code, 403 | 429) {
            return None;
        }
        let is_secondary = words.contains("secondary rate limit") || words.contains("abuse detection");
        let is_limit = self.retry_after.is_some() || self.exhausted || code == 429;
        if !is_limit && !is_secondary && !words.contains("rate limit exceeded") {
            return None;
        }
        let told = self.retry_after.or(self.reset_in.filter(|_| self.exhausted)).unwrap_or(60);
        let least = if is_secondary { 60 } else { 1 };
        Some(Duration::from_secs(told.clamp(least, Self::LONGEST).unsigned_abs()))
    }
}

/// Returns the time of GitHub's clock when it answered.
fn date_of(answer: &Answer) -> Option<DateTime<Utc>> {
    let date = answer.headers().get("date")?.to_str().ok()?;
    Some(DateTime::parse_from_rfc2822(date).ok()?.to_utc())
}
