//! A file on a server, whose parts are read.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use http::HeaderMap;
use http::header::{IF_RANGE, RANGE};
use reqwest::Response;
use url::Url;

use super::InputError;
use super::lfs::LfsFile;
use super::web::Web;
use crate::hub::{Hub, Opened};

/// A place that has a file.
#[derive(Debug)]
pub(super) enum Server {
    Hub(Hub, Url),
    Web(Web, Url),
    Lfs(LfsFile),
}

/// A file on a server.
#[derive(Debug)]
pub(super) struct Remote {
    server: Server,
    /// The address to which the server has redirected last. It may end at any time.
    located: Mutex<Option<Url>>,
}

impl Remote {
    pub(super) fn new(server: Server) -> Self {
        Self { server, located: Mutex::new(None) }
    }

    /// Begins to read a part of the file. With the `mark` of a version, the answer is the whole file if that has changed.
    pub(super) async fn read(&self, range: &Range<u64>, mark: Option<&str>) -> Result<Response, InputError> {
        let headers = headers(range, mark);
        let located = self.located.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(located) = located {
            match self.server.open(Some(&located), &headers).await {
                Ok(opened) => return Ok(opened.response),
                // Its signature may have ended.
                Err(_) => *self.located.lock().unwrap_or_else(PoisonError::into_inner) = None,
            }
        }
        let Opened { response, address } = self.server.open(None, &headers).await?;
        if self.server.address().is_some_and(|own| *own != address) {
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
    /// Returns the address of the file, if it always has the same.
    fn address(&self) -> Option<&Url> {
        match self {
            Self::Hub(_, address) | Self::Web(_, address) => Some(address),
            // The server decides on it, and on the headers for it.
            Self::Lfs(_) => None,
        }
    }

    /// Begins to read the file, at an address to which the server has redirected before if there is one.
    async fn open(&self, located: Option<&Url>, headers: &HeaderMap) -> Result<Opened, InputError> {
        match self {
            Self::Hub(hub, address) => Ok(hub.open(located.unwrap_or(address), headers).await?),
            Self::Web(web, address) => web.open(located.unwrap_or(address), headers, &HeaderMap::new()).await,
            Self::Lfs(file) => file.open(headers).await,
        }
    }
}
