//! The client of a server. It trusts the server little: answers have bounds, and the token goes to the server alone.

use std::time::Duration;

use anyhow::Context as _;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use super::address::Address;
use crate::cli::table::inert;

/// Time limit for a connection to the server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time limit for the next bytes of an answer. A live log sends something at least every 15 seconds.
const READ_TIMEOUT: Duration = Duration::from_secs(45);
/// Time limit for an answer in JSON.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// Maximum size of an answer in JSON. A build with thousands of jobs has a few megabytes.
const MAX_ANSWER: usize = 32 << 20;
/// Maximum size of the explanation of an error, in bytes as they come and in characters as they are shown.
const MAX_EXPLANATION: usize = 64 << 10;
const SHOWN_EXPLANATION: usize = 600;
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Exit status: the server does not answer, or not as a Trainyard server does.
pub(super) const UNREACHABLE: u8 = 4;
/// Exit status: the server wants a token, or another one.
pub(super) const NOT_ALLOWED: u8 = 5;

/// Reason why the server has not done what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum Error {
    #[error("{0} does not answer: {1}")]
    Unreachable(Address, String),
    #[error("{0} does not answer as a Trainyard server does: {1}")]
    Strange(Address, String),
    #[error("{words}{}", if *.anonymous { "\nNo token was sent: trainyard login tells where to get one." } else { "" })]
    NotAllowed { words: String, anonymous: bool },
    #[error("{words}{}", if *.anonymous { "\nNo token was sent: private repositories need one, see trainyard login." } else { "" })]
    Missing { words: String, anonymous: bool },
    /// The server is too busy, or lacks something, at the moment.
    #[error("{0}")]
    Unavailable(String),
    #[error("{0}")]
    Refused(String),
}

impl Error {
    /// Returns the exit status of a command that ends with this error.
    pub(in crate::cli) fn exit_status(&self) -> u8 {
        match self {
            Self::Unreachable(..) | Self::Strange(..) | Self::Unavailable(_) => UNREACHABLE,
            Self::NotAllowed { .. } => NOT_ALLOWED,
            Self::Missing { .. } => crate::cli::USAGE,
            Self::Refused(_) => crate::cli::PROBLEMS,
        }
    }

    /// Returns true if the same request may succeed in a moment.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, Self::Unreachable(..) | Self::Unavailable(_))
    }
}

/// A client of one server.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Client {
    http: reqwest::Client,
    address: Address,
    token: Option<SecretString>,
}

impl Client {
    pub(super) fn new(address: Address, token: Option<SecretString>) -> anyhow::Result<Self> {
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("trainyard/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            // A redirect could lead the token to another server. Trainyard's API has none.
            .redirect(Policy::none());
        if address.is_loopback() {
            // What stays on this machine is not for a proxy.
            http = http.no_proxy();
        }
        Ok(Self { http: http.build().context("making an HTTP client")?, address, token })
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// Returns the URL of a path of the API.
    fn url(&self, path: &[&str], query: &[(&str, &str)]) -> Url {
        let mut url = self.address.at(&["api", "v1"].iter().chain(path).copied().collect::<Vec<_>>());
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    fn request(&self, method: Method, path: &[&str], query: &[(&str, &str)]) -> RequestBuilder {
        let request = self.http.request(method, self.url(path, query));
        match &self.token {
            Some(token) => request.bearer_auth(token.expose_secret()),
            None => request,
        }
    }

    /// Returns what the server says at a path of its API.
    pub(in crate::cli) async fn get(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Value, Error> {
        self.answer(self.request(Method::GET, path, query)).await
    }

    /// Asks for a change, and once more if the answer is lost. The server knows by a key that it is the same request.
    pub(super) async fn post(&self, path: &[&str], body: &Value) -> Result<Value, Error> {
        let key = new_key().map_err(|error| Error::Refused(format!("{error:#}")))?;
        let request = || self.request(Method::POST, path, &[]).header(IDEMPOTENCY_KEY, key.clone()).json(body);
        match self.answer(request()).await {
            Err(Error::Unreachable(..)) => {
                tokio::time::sleep(RETRY_DELAY).await;
                self.answer(request()).await
            }
            answer => answer,
        }
    }

    /// Begins an answer of any length.
    pub(super) async fn open(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        headers: HeaderMap,
    ) -> Result<Response, Error> {
        self.send(self.request(Method::GET, path, query).headers(headers)).await
    }

    /// Returns the next bytes of an answer; `None` at its end.
    pub(super) async fn chunk(&self, response: &mut Response) -> Result<Option<bytes::Bytes>, Error> {
        response.chunk().await.map_err(|error| self.unreachable(&error))
    }

    async fn answer(&self, request: RequestBuilder) -> Result<Value, Error> {
        let mut response = self.send(request.timeout(ANSWER_TIMEOUT)).await?;
        let body = self.body(&mut response, MAX_ANSWER).await?;
        serde_json::from_slice(&body).map_err(|_| self.strange("the answer is not JSON"))
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Error> {
        let mut response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        if status.is_redirection() {
            return Err(self.strange(&redirected(&response)));
        }
        let body = self.body(&mut response, MAX_EXPLANATION).await.unwrap_or_default();
        let explanation = explanation(&body);
        if explanation.is_none() && status == StatusCode::NOT_FOUND {
            return Err(self.strange("it has no such page, or is of another version"));
        }
        let words = explanation.unwrap_or_else(|| format!("{} answers {status}.", self.address));
        let anonymous = self.token.is_none();
        Err(match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Error::NotAllowed { words, anonymous },
            StatusCode::NOT_FOUND => Error::Missing { words, anonymous },
            StatusCode::GONE => Error::Missing { words, anonymous: false },
            StatusCode::TOO_MANY_REQUESTS => Error::Unavailable(words),
            status if status.is_server_error() => Error::Unavailable(words),
            _ => Error::Refused(words),
        })
    }

    async fn body(&self, response: &mut Response, most: usize) -> Result<Vec<u8>, Error> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk(response).await? {
            if body.len() + chunk.len() > most {
                return Err(self.strange("the answer is too long"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    pub(super) fn strange(&self, why: &str) -> Error {
        Error::Strange(self.address.clone(), why.to_owned())
    }

    fn unreachable(&self, error: &reqwest::Error) -> Error {
        // The outermost causes only repeat the URL.
        let mut cause: &dyn std::error::Error = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        let words = if error.is_timeout() { "no answer in time".to_owned() } else { inert(&cause.to_string()) };
        Error::Unreachable(self.address.clone(), words)
    }
}

/// Returns a name for a request that no other request has.
fn new_key() -> anyhow::Result<HeaderValue> {
    let mut random = [0; 16];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| anyhow::anyhow!("this machine has no random numbers"))?;
    Ok(HeaderValue::from_str(&hex::encode(random))?)
}

fn redirected(response: &Response) -> String {
    let target = response.headers().get(LOCATION).and_then(|target| target.to_str().ok());
    let target = target.and_then(|target| response.url().join(target).ok());
    match target {
        Some(target) if target.path().ends_with("/login") => "it wants a login for this".to_owned(),
        Some(target) => {
            let origin = inert(&target.origin().ascii_serialization());
            format!("it redirects to {origin}, and a token is not sent after a redirect")
        }
        None => "it redirects".to_owned(),
    }
}

/// Returns the words of an error: problem details (RFC 9457), or the field `error`.
fn explanation(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let words = ["detail", "error", "title"].iter().find_map(|field| body.get(field)?.as_str())?;
    Some(inert(words).chars().take(SHOWN_EXPLANATION).collect()).filter(|words: &String| !words.is_empty())
}

/// Reads an answer into a type. Control characters are taken out of all its texts, because people see them in a
/// terminal.
pub(super) fn typed<T: DeserializeOwned>(client: &Client, mut answer: Value) -> Result<T, Error> {
    make_inert(&mut answer);
    serde_json::from_value(answer).map_err(|error| client.strange(&inert(&error.to_string())))
}

fn make_inert(value: &mut Value) {
    match value {
        Value::String(text) if text.contains(|c: char| c != '\n' && is_steering(c)) => {
            *text = text.split('\n').map(inert).collect::<Vec<_>>().join("\n");
        }
        Value::Array(values) => values.iter_mut().for_each(make_inert),
        Value::Object(fields) => fields.values_mut().for_each(make_inert),
        _ => {}
    }
}

fn is_steering(c: char) -> bool {
    inert(c.encode_utf8(&mut [0; 4])).is_empty()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn errors_have_words_in_either_form() {
        let words = |body: &str| explanation(body.as_bytes());
        assert_eq!(words(r#"{"error": "Not \u001b[31mhere."}"#).as_deref(), Some("Not [31mhere."));
        assert_eq!(
            words(r#"{"title": "Not Found", "detail": "There is no such build here."}"#).as_deref(),
            Some("There is no such build here.")
        );
        assert_eq!(words(r#"{"title": "Not Found"}"#).as_deref(), Some("Not Found"));
        for none in ["", "<html>", "{}", r#"{"error": 3}"#, r#"{"error": ""}"#] {
            assert_eq!(words(none), None, "{none}");
        }
        assert_eq!(
            words(&json!({ "error": "x".repeat(5000) }).to_string()).map(|words| words.len()),
            Some(SHOWN_EXPLANATION)
        );
    }

    #[test]
    fn texts_of_a_server_cannot_steer_a_terminal() {
        let client = Client::new("http://127.0.0.1:1".parse().expect("an address"), None).expect("a client");
        let hostile = json!({ "a": ["x\u{1b}]0;title\u{7}", { "b": "\u{9b}2J\u{202e}gnp.exe\nline" }], "n": 3 });
        let seen: Value = typed(&client, hostile).expect("JSON");
        assert_eq!(seen, json!({ "a": ["x]0;title", { "b": "2Jgnp.exe\nline" }], "n": 3 }));
    }
}
