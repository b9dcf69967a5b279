//! The servers that have the bytes of a file.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::{IF_RANGE, LOCATION, RANGE, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use reqwest::dns::Resolve;
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use url::Url;

use super::InputError;
use crate::executor::IpNetwork;
use crate::hub::{Hub, Opened};
use crate::outgoing::{CheckedNames, is_host_allowed, is_port_allowed, was_forbidden};

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Time without a byte after which a connection counts as cut.
const SILENCE: Duration = Duration::from_secs(60);
const MAX_REDIRECTIONS: usize = 5;
const USER_AGENT: &str = concat!("trainyard/", env!("CARGO_PKG_VERSION"));
const FORBIDDEN: &str = "the address is not on the internet, nor in inputs.allow";

/// A client for any web server. It reaches the internet, and the networks that the operator opens.
#[derive(Debug, Clone)]
pub(super) struct Web {
    client: Client,
    /// `None` for servers that the operator has named.
    allowed: Option<Arc<[IpNetwork]>>,
}

/// A server with a file.
#[derive(Debug, Clone)]
pub(super) enum Server {
    Hub(Hub),
    Web(Web),
}

/// A file on a server.
#[derive(Debug)]
pub(super) struct Remote {
    server: Server,
    address: Url,
    /// The address to which the server has redirected last. It may end at any time.
    located: Mutex<Option<Url>>,
}

impl Remote {
    pub(super) fn new(server: Server, address: Url) -> Self {
        Self { server, address, located: Mutex::new(None) }
    }

    /// Begins to read a part of the file. With the `mark` of a version, the answer is the whole file if that has changed.
    pub(super) async fn read(&self, range: &Range<u64>, mark: Option<&str>) -> Result<Response, InputError> {
        let headers = headers(range, mark);
        let located = self.located.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(located) = located {
            match self.server.open(&located, &headers).await {
                Ok(opened) => return Ok(opened.response),
                // Its signature may have ended.
                Err(_) => *self.located.lock().unwrap_or_else(PoisonError::into_inner) = None,
            }
        }
        let Opened { response, address } = self.server.open(&self.address, &headers).await?;
        if address != self.address {
            *self.located.lock().unwrap_or_else(PoisonError::into_inner) = Some(address);
        }
        Ok(response)
    }
}

fn headers(range: &Range<u64>, mark: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let wanted = format!("bytes={}-{}", range.start, range.end.saturating_sub(1));
    if let Ok(wanted) = wanted.parse() {
        headers.insert(RANGE, wanted);
    }
    if let Some(mark) = mark.and_then(|mark| mark.parse().ok()) {
        headers.insert(IF_RANGE, mark);
    }
    headers
}

impl Server {
    async fn open(&self, address: &Url, headers: &HeaderMap) -> Result<Opened, InputError> {
        match self {
            Self::Hub(hub) => Ok(hub.open(address, headers).await?),
            Self::Web(web) => web.open(address, headers).await,
        }
    }
}

impl Web {
    /// Makes a client that may also reach these networks, and asks `names` for addresses.
    ///
    /// # Errors
    /// Fails when the system's certificates cannot be read.
    pub(super) fn new(allowed: &[IpNetwork], names: Arc<dyn Resolve>) -> anyhow::Result<Self> {
        let allowed: Arc<[IpNetwork]> = allowed.into();
        let client = Client::builder()
            .dns_resolver(CheckedNames::new(names, Arc::clone(&allowed)))
            // A proxy would resolve names itself, and an answer must not choose the next address.
            .no_proxy()
            .redirect(Policy::none())
            .connect_timeout(CONNECT_LIMIT)
            .read_timeout(SILENCE)
            .user_agent(USER_AGENT)
            .build()?;
        Ok(Self { client, allowed: Some(allowed) })
    }

    /// Makes a client for servers that the operator has named.
    ///
    /// # Errors
    /// Fails when the system's certificates cannot be read.
    pub(super) fn trusting() -> anyhow::Result<Self> {
        let client = Client::builder()
            .redirect(Policy::none())
            .connect_timeout(CONNECT_LIMIT)
            .read_timeout(SILENCE)
            .user_agent(USER_AGENT)
            .build()?;
        Ok(Self { client, allowed: None })
    }

    async fn open(&self, address: &Url, headers: &HeaderMap) -> Result<Opened, InputError> {
        let mut address = address.clone();
        for _ in 0..=MAX_REDIRECTIONS {
            self.check(&address)?;
            let response = self.client.get(address.clone()).headers(headers.clone()).send().await;
            let response = response.map_err(|error| failure(&error))?;
            let location = response.headers().get(LOCATION).filter(|_| response.status().is_redirection());
            let Some(location) = location else { return opened(response, address) };
            let next = location.to_str().ok().and_then(|location| address.join(location).ok());
            let next =
                next.ok_or_else(|| InputError::Refused("it redirects to something that is no address".into()))?;
            if next.scheme() != "https" && next.scheme() != address.scheme() {
                return Err(InputError::Refused("it redirects to an address that is not encrypted".to_owned()));
            }
            address = next;
        }
        Err(InputError::Refused("it redirects too often".to_owned()))
    }

    /// Checks an address as far as that goes without a name server.
    fn check(&self, address: &Url) -> Result<(), InputError> {
        let Some(allowed) = &self.allowed else { return Ok(()) };
        if !is_host_allowed(address, allowed) {
            return Err(InputError::NotAllowed(FORBIDDEN.to_owned()));
        }
        match is_port_allowed(address) {
            true => Ok(()),
            false => Err(InputError::NotAllowed("the port is neither 80 nor 443, nor above 1023".to_owned())),
        }
    }
}

fn opened(response: Response, address: Url) -> Result<Opened, InputError> {
    let status = response.status();
    let wait = response.headers().get(RETRY_AFTER).and_then(|wait| wait.to_str().ok()?.parse().ok());
    let words = format!("{} answers {status}", address.host_str().unwrap_or_default());
    match status.as_u16() {
        200..=299 => Ok(Opened { response, address }),
        _ if status == StatusCode::RANGE_NOT_SATISFIABLE => Ok(Opened { response, address }),
        408 | 429 | 500.. => Err(InputError::Away(words, wait.map(Duration::from_secs))),
        _ => Err(InputError::Refused(words)),
    }
}

/// Returns the failure of a request, in words without its address.
pub(super) fn failure(error: &reqwest::Error) -> InputError {
    if was_forbidden(error) {
        return InputError::NotAllowed(FORBIDDEN.to_owned());
    }
    let words = if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "the server cannot be reached"
    } else {
        "the connection broke"
    };
    InputError::Away(words.to_owned(), None)
}
