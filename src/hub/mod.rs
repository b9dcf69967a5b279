//! The Hugging Face Hub: its requests, its answers, and a permission to publish there. No other module knows the
//! protocol.
//!
//! Repositories are read with or without a token (`download`). Large files go there by the LFS protocol, which the Hub takes
//! from every client. The rest goes with the commit.

mod config;
mod download;
mod error;
mod repository;
mod upload;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use url::Url;

pub use self::config::{HuggingFaceConfig, keeps_secrets};
pub use self::download::{Opened, RemoteFile, RepositoryKind};
pub use self::error::HubError;
pub use self::repository::{Change, State, Tree};
pub use self::upload::Uploaded;

/// Time limit for a request without a large body.
const LIMIT: Duration = Duration::from_secs(60);
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Slowest upload that is waited for, in bytes per second.
const SLOWEST: u64 = 64 << 10;
/// Maximum length of an answer, in bytes.
const MAX_ANSWER: usize = 8 << 20;
const USER_AGENT: &str = concat!("trainyard/", env!("CARGO_PKG_VERSION"));

/// A client for the Hub, with the token of one permission, or without any.
#[derive(Debug, Clone)]
pub struct Hub {
    client: Client,
    endpoint: Url,
    token: Option<SecretString>,
}

/// A success of the Hub, as far as it was read.
struct Answer {
    headers: HeaderMap,
    body: Bytes,
}

impl Hub {
    /// Makes a client with the endpoint and the token of a permission.
    ///
    /// # Errors
    /// Fails when the permission has no token, and when the system's certificates cannot be read.
    pub fn new(permission: &HuggingFaceConfig) -> anyhow::Result<Self> {
        let token = permission.token.clone().ok_or_else(|| anyhow::anyhow!("the permission has no token"))?;
        let client = Client::builder()
            // An answer must not choose who sees the token.
            .redirect(Policy::none())
            .connect_timeout(CONNECT_LIMIT)
            .user_agent(USER_AGENT)
            .build()?;
        let token = SecretString::from(token.expose_secret().trim().to_owned());
        Ok(Self { client, endpoint: permission.endpoint.clone(), token: Some(token) })
    }

    /// Makes a client that reads repositories. Its requests have no limit of time for their whole answers: it ends one
    /// that brings nothing for a while.
    ///
    /// # Errors
    /// Fails when the system's certificates cannot be read.
    pub fn reader(endpoint: &Url, token: Option<&SecretString>) -> anyhow::Result<Self> {
        let client = Client::builder()
            .redirect(Policy::none())
            .connect_timeout(CONNECT_LIMIT)
            .read_timeout(LIMIT)
            .user_agent(USER_AGENT)
            .build()?;
        let token = token.map(|token| SecretString::from(token.expose_secret().trim().to_owned()));
        Ok(Self { client, endpoint: endpoint.clone(), token })
    }

    /// Returns the address of a path of the Hub. The parts of the path are names that were checked.
    fn address(&self, path: &str) -> String {
        format!("{}{path}", self.endpoint.as_str().trim_end_matches('/'))
    }

    /// Begins a request to the Hub itself, which may see the token.
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.with_token(self.client.request(method, self.address(path))).timeout(LIMIT)
    }

    fn with_token(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.token {
            Some(token) => request.bearer_auth(token.expose_secret()),
            None => request,
        }
    }

    /// Begins a request to an address that the Hub has given. Only the Hub itself sees the token.
    fn follow(&self, method: Method, address: &str) -> Result<RequestBuilder, HubError> {
        let url = self.resolve(address)?;
        let is_hub = url.origin() == self.endpoint.origin();
        let request = self.client.request(method, url).timeout(LIMIT);
        Ok(if is_hub { self.with_token(request) } else { request })
    }

    /// Reads an address that the Hub has given.
    fn resolve(&self, address: &str) -> Result<Url, HubError> {
        let url = self.endpoint.join(address).map_err(|_| unexpected("an address"))?;
        match url.scheme() == "https" || url.scheme() == self.endpoint.scheme() {
            true => Ok(url),
            false => Err(HubError::Refused("it gives an address that is not encrypted".to_owned())),
        }
    }

    /// Sends a request, and reads the answer if it is a success.
    async fn send(&self, request: RequestBuilder) -> Result<Answer, HubError> {
        let response = request.send().await.map_err(|error| away(&error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = self.read(response).await;
        match status.is_success() {
            true => Ok(Answer { headers, body: body? }),
            // The status says enough if the body is lost.
            false => Err(self.without_token(error::judge(status.as_u16(), &headers, &body.unwrap_or_default()))),
        }
    }

    async fn read(&self, mut response: Response) -> Result<Bytes, HubError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| away(&error))? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(HubError::Refused("its answer is too long".to_owned()));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.into())
    }

    /// Sends a request whose answer is JSON.
    async fn ask<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, HubError> {
        parse(&self.send(request).await?.body)
    }

    /// Takes the token out of the Hub's words, should they have it: they are shown to people.
    fn without_token(&self, error: HubError) -> HubError {
        let Some(token) = &self.token else { return error };
        let hide = |words: String| words.replace(token.expose_secret(), "[secure]");
        match error {
            HubError::Token(words) => HubError::Token(hide(words)),
            HubError::Missing(words) => HubError::Missing(hide(words)),
            HubError::Gated(words) => HubError::Gated(hide(words)),
            HubError::Revision(words) => HubError::Revision(hide(words)),
            HubError::TooLarge(words) => HubError::TooLarge(hide(words)),
            HubError::Away(words) => HubError::Away(hide(words)),
            HubError::Refused(words) => HubError::Refused(hide(words)),
            other => other,
        }
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, HubError> {
    // A proxy or a page of maintenance answers for the Hub now and then.
    serde_json::from_slice(body).map_err(|_| HubError::Away("its answer is not in the form of the Hub".to_owned()))
}

fn unexpected(what: &str) -> HubError {
    HubError::Refused(format!("its answer has no valid form of {what}"))
}

/// Returns the failure of a request, in words without its address: an address for an upload is a secret.
fn away(error: &reqwest::Error) -> HubError {
    let words = if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "it cannot be reached"
    } else {
        "the connection broke"
    };
    HubError::Away(words.to_owned())
}
