//! Requests to GitHub, and its answers.

use std::time::Duration;

use chrono::{DateTime, Utc};
use http::header::{AUTHORIZATION, IF_NONE_MATCH};
use http::{HeaderValue, Method};
use http_body_util::{BodyExt as _, Limited};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Position;

use super::{Client, SendError};

pub(super) type Answer = http::Response<http_body_util::combinators::BoxBody<bytes::Bytes, octocrab::Error>>;

/// Redirections after which GitHub's documentation asks to repeat a request as it is, with its method and body.
const REDIRECTS: [u16; 4] = [301, 302, 307, 308];

impl Client {
    /// Sends a request below the address of GitHub's API. Returns any response.
    ///
    /// GitHub redirects requests for a repository that was renamed. Such a request is sent once more to the new place.
    pub(super) async fn follow<B: Serialize>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
        token: Option<&SecretString>,
    ) -> Result<Answer, SendError> {
        self.follow_unless(method, path, body, token, None).await
    }

    /// Sends a request as [`Client::follow`] does. GitHub answers 304 if the thing still has this mark.
    pub(super) async fn follow_unless<B: Serialize>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
        token: Option<&SecretString>,
        etag: Option<&str>,
    ) -> Result<Answer, SendError> {
        let route = format!("{}{path}", self.api_url.path().trim_end_matches('/'));
        let response = self.send(method.clone(), route, body, token, etag).await?;
        match self.redirection(&response) {
            Some(route) => self.send(method, route, body, token, etag).await,
            None => Ok(response),
        }
    }

    /// Sends a request to a path of the API's host, which is the only one that may see the token.
    async fn send<B: Serialize>(
        &self,
        method: Method,
        path: String,
        body: Option<&B>,
        token: Option<&SecretString>,
        etag: Option<&str>,
    ) -> Result<Answer, SendError> {
        let mut request = http::request::Builder::new().method(method).uri(path);
        if let Some(etag) = etag.and_then(|etag| HeaderValue::try_from(etag).ok()) {
            request = request.header(IF_NONE_MATCH, etag);
        }
        if let Some(token) = token {
            let mut header = HeaderValue::try_from(format!("Bearer {}", token.expose_secret()))
                .map_err(|_| SendError::NoAccess("the token has characters that no request can carry".to_owned()))?;
            header.set_sensitive(true);
            request = request.header(AUTHORIZATION, header);
        }
        let request = async { self.octocrab.execute(self.octocrab.build_request(request, body)?).await };
        match tokio::time::timeout(self.timeout, request).await {
            Err(_) => {
                let limit = humantime::format_duration(self.timeout);
                Err(SendError::Broken(format!("no answer from {} within {limit}", self.api_url)))
            }
            Ok(Err(error)) => {
                let error = anyhow::Error::from(error);
                Err(SendError::Broken(format!("cannot reach {}: {error:#}", self.api_url)))
            }
            Ok(Ok(response)) => Ok(response),
        }
    }

    /// Returns the path and query to which GitHub redirects a request; `None` for another origin, which must not see the
    /// token.
    fn redirection(&self, response: &Answer) -> Option<String> {
        if !REDIRECTS.contains(&response.status().as_u16()) {
            return None;
        }
        let location = response.headers().get("location")?.to_str().ok()?;
        let target = self.api_url.join(location).ok().filter(|url| url.origin() == self.api_url.origin())?;
        Some(target[Position::BeforePath..Position::AfterQuery].to_owned())
    }

    /// Returns a response if it is a success.
    pub(super) async fn accepted(&self, response: Answer) -> Result<Answer, SendError> {
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
        let needed = header("x-accepted-github-permissions").filter(|_| code == 403);
        let mut said = self.words_of(response).await;
        let words = said.to_lowercase();
        if let Some(wait) = limit.wait(code, &words) {
            return Err(SendError::RateLimited { by: self.server, wait, said });
        }
        if let Some(needed) = needed {
            let needed: String = needed.chars().filter(|c| !c.is_control()).take(100).collect();
            said = format!("{said}; the request needs {needed}");
        }
        Err(match code {
            422 if words.contains("maximum number of statuses") => SendError::Full { said },
            500..=599 | 408 => SendError::Broken(format!("{} answered {code}: {said}", self.server)),
            _ => SendError::Refused { by: self.server, status: code, said },
        })
    }

    /// Reads a response of at most this many bytes.
    pub(super) async fn read<T: DeserializeOwned>(&self, answer: Answer, most: usize) -> Result<T, SendError> {
        let broken = |why: String| SendError::Broken(format!("the answer of {} cannot be read: {why}", self.server));
        let body = Limited::new(answer.into_body(), most).collect();
        let body = tokio::time::timeout(self.timeout, body).await.map_err(|_| broken("it took too long".to_owned()))?;
        let body = body.map_err(|error| broken(error.to_string()))?.to_bytes();
        serde_json::from_slice(&body).map_err(|error| broken(error.to_string()))
    }

    /// Returns the `message` of an error response with those of its `errors`, or its first words.
    async fn words_of(&self, response: Answer) -> String {
        const ENOUGH: usize = 16 * 1024;
        let body = Limited::new(response.into_body(), ENOUGH);
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
pub(super) fn date_of(answer: &Answer) -> Option<DateTime<Utc>> {
    let date = answer.headers().get("date")?.to_str().ok()?;
    Some(DateTime::parse_from_rfc2822(date).ok()?.to_utc())
}
