//! Requests to receivers, whose addresses anyone may write who can push.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use reqwest::dns::Resolve;
use reqwest::redirect::Policy;
use secrecy::ExposeSecret as _;
use serde_json::Value;
use url::Url;

use crate::chat::{Answer, Refusal};
use crate::executor::IpNetwork;
use crate::hooks::HookConfig;
use crate::outgoing::{CheckedNames, is_host_allowed, is_port_allowed, was_forbidden};

/// Time limit for a request, from the name to the head of the answer.
const LIMIT: Duration = Duration::from_secs(10);
/// Maximum length of an address, in bytes.
const MAX_URL: usize = 2 << 10;
/// Maximum length of an answer that is read, in bytes.
const MAX_ANSWER: usize = 64 << 10;
/// Name of this client for receivers.
const USER_AGENT: &str = "Trainyard (Travis CI Notifications)";

/// Error: a receiver was not told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendError {
    /// Another try may succeed.
    Later(String),
    /// No other try can succeed.
    Never(String),
}

/// A client that reaches receivers, and nothing else.
#[derive(Debug, Clone)]
pub struct Sender {
    client: reqwest::Client,
    allowed: Arc<[IpNetwork]>,
}

/// A webhook to send.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// `owner/name` of the repository.
    pub repo: &'a str,
    /// The form.
    pub body: &'a str,
    pub signature: &'a str,
}

impl Sender {
    /// Makes a client that may also reach these networks, and asks `names` for addresses.
    ///
    /// # Errors
    /// Fails when the system's certificates cannot be read.
    pub fn new(allowed: &[IpNetwork], names: Arc<dyn Resolve>) -> anyhow::Result<Self> {
        let allowed: Arc<[IpNetwork]> = allowed.into();
        // The client connects to the addresses that this returns, and asks nobody else. So no name can have another
        // address when it is used than when it was checked.
        let checked = CheckedNames::new(names, Arc::clone(&allowed));
        let client = reqwest::Client::builder()
            .dns_resolver(checked)
            // A proxy would resolve names itself, and an answer must not choose the next address.
            .no_proxy()
            .redirect(Policy::none())
            .timeout(LIMIT)
            .pool_max_idle_per_host(0)
            .user_agent(USER_AGENT)
            .build()?;
        Ok(Self { client, allowed })
    }

    /// Sends a message. Nothing of the answer is read but its status.
    ///
    /// # Errors
    /// Fails in words that do not contain the address: it may be a secret.
    pub async fn send(&self, url: &str, message: Message<'_>) -> Result<u16, SendError> {
        let url = self.check(url).map_err(|why| SendError::Never(why.to_owned()))?;
        let request = self
            .client
            .post(url)
            .header("content-type", "application/x-www-form-urlencoded")
            .header("signature", message.signature)
            .header("travis-repo-slug", message.repo)
            .body(message.body.to_owned());
        match request.send().await.map(|answer| answer.status().as_u16()) {
            Ok(status @ 200..=299) => Ok(status),
            Ok(status @ 300..=399) => {
                Err(SendError::Never(format!("it answered {status}, and redirections are not followed")))
            }
            Ok(status @ (408 | 429 | 500..)) => Err(SendError::Later(format!("it answered {status}"))),
            Ok(status) => Err(SendError::Never(format!("it answered {status}"))),
            Err(error) => Err(failure(&error)),
        }
    }

    /// Sends JSON. Of the answer, the beginning is read.
    ///
    /// # Errors
    /// Fails in words that do not contain the address: it is a secret.
    pub(super) async fn post_json(&self, url: &str, body: &Value) -> Result<Answer, SendError> {
        let url = self.check(url).map_err(|why| SendError::Never(why.to_owned()))?;
        self.answer(self.client.post(url).header("content-type", "application/json").body(body.to_string())).await
    }

    /// Sends an event to a program of the operator, signed as of now.
    ///
    /// # Errors
    /// Fails in words that do not contain the address: it may be a secret.
    pub async fn post_signed(&self, hook: &HookConfig, id: String, event: &Value) -> Result<(), Refusal> {
        let url = hook.url.as_ref().map_or("", |url| url.expose_secret());
        let url = self.check(url).map_err(|why| Refusal::Never(why.to_owned()))?;
        let body = event.to_string();
        let signed = hook.sign(id, Utc::now().timestamp(), &body);
        let request = self
            .client
            .post(url)
            .header("content-type", "application/json")
            .header("webhook-id", signed.id)
            .header("webhook-timestamp", signed.timestamp)
            .header("webhook-signature", signed.signature)
            .body(body);
        let Answer { status, retry_after, .. } = self.answer(request).await.map_err(|error| match error {
            SendError::Later(why) => Refusal::Later(why, None),
            SendError::Never(why) => Refusal::Never(why),
        })?;
        match status {
            200..=299 => Ok(()),
            300..=399 => Err(Refusal::Never(format!("it answered {status}, and redirections are not followed"))),
            408 | 429 | 500.. => Err(Refusal::Later(format!("it answered {status}"), retry_after)),
            _ => Err(Refusal::Never(format!("it answered {status}"))),
        }
    }

    /// Sends a request. Of the answer, the beginning is read.
    async fn answer(&self, request: reqwest::RequestBuilder) -> Result<Answer, SendError> {
        let mut answer = request.send().await.map_err(|error| failure(&error))?;
        let retry_after = answer.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let (status, mut body) = (answer.status().as_u16(), Vec::new());
        while let Some(chunk) = answer.chunk().await.map_err(|error| failure(&error))? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_ANSWER {
                break;
            }
        }
        body.truncate(MAX_ANSWER);
        Ok(Answer { status, retry_after: retry_after.map(Duration::from_secs), body })
    }

    /// Checks an address as far as that goes without a name server.
    fn check(&self, url: &str) -> Result<Url, &'static str> {
        if url.len() > MAX_URL {
            return Err("the address is too long");
        }
        let url = Url::parse(url.trim()).map_err(|_| "this is not an address")?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("the address does not begin with https:// or http://");
        }
        if !is_host_allowed(&url, &self.allowed) {
            return Err(FORBIDDEN);
        }
        match is_port_allowed(&url) {
            true => Ok(url),
            false => Err("the port is neither 80 nor 443, nor above 1023"),
        }
    }
}

const FORBIDDEN: &str = "the address is not on the internet, nor in notifications.allow";

fn failure(error: &reqwest::Error) -> SendError {
    if was_forbidden(error) {
        return SendError::Never(FORBIDDEN.to_owned());
    }
    let words = if error.is_timeout() {
        "it did not answer in time"
    } else if error.is_connect() {
        "it cannot be reached"
    } else {
        "its answer is not one of a web server"
    };
    SendError::Later(words.to_owned())
}
