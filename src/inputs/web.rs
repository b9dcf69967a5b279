//! A client for any web server: it reaches the internet, and the networks that the operator opens.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{LOCATION, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use reqwest::dns::{Name, Resolve};
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use url::{Host, Url};

use super::InputError;
use crate::executor::IpNetwork;
use crate::hub::Opened;
use crate::outgoing::{CheckedNames, Forbidden, is_host_allowed, is_port_allowed, was_forbidden};

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Time without a byte after which a connection counts as cut.
const SILENCE: Duration = Duration::from_secs(60);
const MAX_REDIRECTIONS: usize = 5;
/// Maximum length of an answer that is read as a whole, in bytes.
const MAX_ANSWER: usize = 8 << 20;
const USER_AGENT: &str = concat!("trainyard/", env!("CARGO_PKG_VERSION"));
const FORBIDDEN: &str = "the address is not on the internet, nor in inputs.allow";

/// A client for web servers.
#[derive(Debug, Clone)]
pub(super) struct Web {
    client: Client,
    /// `None` for servers that the operator has named.
    checks: Option<Checks>,
}

/// The checks of addresses that others have named.
#[derive(Debug, Clone)]
struct Checks {
    allowed: Arc<[IpNetwork]>,
    names: Arc<CheckedNames>,
}

/// An answer that was read as a whole.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// Time for which the server asks to wait.
    pub(super) wait: Option<Duration>,
    pub(super) body: Vec<u8>,
}

impl Web {
    /// Makes a client that may also reach these networks, and asks `names` for addresses.
    ///
    /// # Errors
    /// Fails when the system's certificates cannot be read.
    pub(super) fn new(allowed: &[IpNetwork], names: Arc<dyn Resolve>) -> anyhow::Result<Self> {
        let allowed: Arc<[IpNetwork]> = allowed.into();
        let names = Arc::new(CheckedNames::new(names, Arc::clone(&allowed)));
        let client = Client::builder()
            .dns_resolver(Arc::clone(&names))
            // A proxy would resolve names itself, and an answer must not choose the next address.
            .no_proxy()
            .redirect(Policy::none())
            .connect_timeout(CONNECT_LIMIT)
            .read_timeout(SILENCE)
            .user_agent(USER_AGENT)
            .build()?;
        Ok(Self { client, checks: Some(Checks { allowed, names }) })
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
        Ok(Self { client, checks: None })
    }

    /// Begins to read a file. Only the server of this address sees the headers `private`: it may redirect to another one.
    pub(super) async fn open(
        &self,
        address: &Url,
        headers: &HeaderMap,
        private: &HeaderMap,
    ) -> Result<Opened, InputError> {
        let origin = address.origin();
        let mut address = address.clone();
        for _ in 0..=MAX_REDIRECTIONS {
            self.check(&address)?;
            let request = self.client.get(address.clone()).headers(headers.clone());
            let request = if address.origin() == origin { request.headers(private.clone()) } else { request };
            let response = request.send().await.map_err(|error| failure(&error))?;
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

    /// Sends a document, and reads the answer, whatever it is. A redirect is not followed.
    pub(super) async fn post(&self, address: &Url, headers: HeaderMap, body: Vec<u8>) -> Result<Answer, InputError> {
        self.check(address)?;
        let request = self.client.post(address.clone()).headers(headers).body(body).timeout(SILENCE);
        let mut response = request.send().await.map_err(|error| failure(&error))?;
        let (status, wait) = (response.status(), wait(&response));
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| failure(&error))? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(InputError::Refused("its answer is too long".to_owned()));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, wait, body })
    }

    /// Returns the addresses of a host that may be reached, for another program. There are none for a host that is an
    /// address, which is checked here.
    pub(super) async fn addresses(&self, address: &Url) -> Result<Vec<IpAddr>, InputError> {
        self.check(address)?;
        let (Some(Checks { names, .. }), Some(Host::Domain(name))) = (&self.checks, address.host()) else {
            return Ok(Vec::new());
        };
        let unknown = |_| InputError::Refused(format!("{name} is no name of a host"));
        let found = names.resolve(name.parse::<Name>().map_err(unknown)?).await;
        match found {
            Ok(found) => Ok(found.map(|address| address.ip()).collect()),
            Err(error) if error.is::<Forbidden>() => Err(InputError::NotAllowed(FORBIDDEN.to_owned())),
            Err(_) => Err(InputError::Away(format!("no name server knows {name}"), None)),
        }
    }

    /// Checks an address as far as that goes without a name server.
    fn check(&self, address: &Url) -> Result<(), InputError> {
        let Some(Checks { allowed, .. }) = &self.checks else { return Ok(()) };
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
    let words = format!("{} answers {status}", address.host_str().unwrap_or_default());
    match status.as_u16() {
        200..=299 => Ok(Opened { response, address }),
        _ if status == StatusCode::RANGE_NOT_SATISFIABLE => Ok(Opened { response, address }),
        408 | 429 | 500.. => Err(InputError::Away(words, wait(&response))),
        _ => Err(InputError::Refused(words)),
    }
}

/// Returns the time for which an answer asks to wait.
fn wait(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER).and_then(|wait| wait.to_str().ok()?.parse().ok());
    seconds.map(Duration::from_secs)
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
