//! Repositories of data and models as they are read: the commit of a revision, the files of a commit, and their bytes.

use http::header::LOCATION;
use http::{HeaderMap, Method};
use reqwest::{Response, StatusCode};
use serde::Deserialize;
use url::Url;

use super::error::judge;
use super::repository::{is_commit, next_page};
use super::{Hub, HubError, away, parse, unexpected};

/// Maximum number of pages of a tree. A page has a thousand files.
const MAX_PAGES: usize = 100;
/// Maximum number of redirections of a file.
const MAX_REDIRECTIONS: usize = 5;

/// The kind of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepositoryKind {
    Model,
    Dataset,
}

impl RepositoryKind {
    fn in_api(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::Dataset => "datasets",
        }
    }

    fn in_files(self) -> &'static str {
        match self {
            Self::Model => "",
            Self::Dataset => "datasets/",
        }
    }
}

/// A file of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteFile {
    /// Path in the repository.
    pub path: String,
    pub size: u64,
    /// Id of a small file in git.
    pub git_oid: Option<String>,
    /// SHA-256 of a large file.
    pub sha256: Option<String>,
}

/// The beginning of an answer with the bytes of a file.
#[derive(Debug)]
pub struct Opened {
    pub response: Response,
    /// The address that has answered. It has a signature that ends.
    pub address: Url,
}

#[derive(Deserialize)]
struct Revision {
    sha: String,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    oid: String,
    #[serde(default)]
    size: u64,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    oid: String,
    size: u64,
}

impl Hub {
    /// Returns the commit of a revision.
    ///
    /// # Errors
    /// Fails with [`HubError::Revision`] when the repository does not have it.
    pub async fn resolve_revision(&self, kind: RepositoryKind, repo: &str, revision: &str) -> Result<String, HubError> {
        let path = format!("/api/{}/{repo}/revision/{revision}", kind.in_api());
        let found: Revision = self.ask(self.request(Method::GET, &path)).await?;
        is_commit(&found.sha).then_some(found.sha).ok_or_else(|| unexpected("a commit"))
    }

    /// Lists all files of a commit.
    ///
    /// # Errors
    /// Fails when there are too many.
    pub async fn list(&self, kind: RepositoryKind, repo: &str, commit: &str) -> Result<Vec<RemoteFile>, HubError> {
        let mut files = Vec::new();
        let path = format!("/api/{}/{repo}/tree/{commit}?recursive=true", kind.in_api());
        let mut request = self.request(Method::GET, &path);
        for _ in 0..MAX_PAGES {
            let answer = self.send(request).await?;
            let entries: Vec<Entry> = parse(&answer.body)?;
            files.extend(entries.into_iter().filter(|entry| entry.kind == "file").map(RemoteFile::from));
            let link = answer.headers.get("link").and_then(|link| link.to_str().ok()).and_then(next_page);
            let Some(next) = link else { return Ok(files) };
            request = self.follow(Method::GET, next)?;
        }
        Err(HubError::Refused("the repository has more than 100,000 files".to_owned()))
    }

    /// Returns the address of a file. The path is one of [`Hub::list`].
    ///
    /// # Errors
    /// Fails when that is no address.
    pub fn file_address(&self, kind: RepositoryKind, repo: &str, commit: &str, path: &str) -> Result<Url, HubError> {
        let mut url = self.resolve(&self.address(&format!("/{}{repo}/resolve/{commit}", kind.in_files())))?;
        // The library encodes each part: names of files may have any character.
        url.path_segments_mut().map_err(|()| unexpected("an address"))?.extend(path.split('/'));
        Ok(url)
    }

    /// Begins to read a part of a file, or all of it. The Hub redirects to its storage, which must not see the token.
    ///
    /// # Errors
    /// Fails when the Hub or its storage refuses.
    pub async fn open(&self, address: &Url, headers: &HeaderMap) -> Result<Opened, HubError> {
        let mut address = address.clone();
        for _ in 0..=MAX_REDIRECTIONS {
            let request = self.client.get(address.clone()).headers(headers.clone());
            let is_hub = address.origin() == self.endpoint.origin();
            let request = if is_hub { self.with_token(request) } else { request };
            let response = request.send().await.map_err(|error| away(&error))?;
            let location = response.headers().get(LOCATION).filter(|_| response.status().is_redirection());
            let Some(location) = location else { return self.opened(response, address).await };
            let location = location.to_str().map_err(|_| unexpected("an address"))?;
            address = self.resolve(address.join(location).map_err(|_| unexpected("an address"))?.as_str())?;
        }
        Err(HubError::Refused("it redirects too often".to_owned()))
    }

    async fn opened(&self, response: Response, address: Url) -> Result<Opened, HubError> {
        let status = response.status();
        if status.is_success() || status == StatusCode::RANGE_NOT_SATISFIABLE {
            return Ok(Opened { response, address });
        }
        let headers = response.headers().clone();
        let body = self.read(response).await.unwrap_or_default();
        Err(self.without_token(judge(status.as_u16(), &headers, &body)))
    }
}

impl From<Entry> for RemoteFile {
    fn from(Entry { path, oid, size, lfs, .. }: Entry) -> Self {
        match lfs {
            Some(lfs) => Self { path, size: lfs.size, git_oid: None, sha256: Some(lfs.oid) },
            None => Self { path, size, git_oid: Some(oid), sha256: None },
        }
    }
}
