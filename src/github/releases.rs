//! Releases of a repository, with their files.

use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use http::Method;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http_body_util::{BodyExt as _, Full};
use reqwest::Body;
use reqwest::redirect::Policy;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use serde_json::json;
use url::Url;

use super::access::{Access, Target};
use super::{Client, SendError};

/// Number of releases in a page, and of pages that are read.
const PAGE: usize = 100;
const MAX_PAGES: usize = 50;
/// Maximum size of an answer, in bytes. Notes have up to 125,000 characters.
const MAX_ANSWER: usize = 64 << 20;
/// Time limit for an upload, besides the time for its bytes, and the slowest one that is waited for, in bytes per second.
const UPLOAD_LIMIT: Duration = Duration::from_secs(60);
const SLOWEST: u64 = 64 << 10;
/// Maximum length of GitHub's answer to an upload, in bytes.
const MAX_WORDS: usize = 64 << 10;

/// A release as GitHub has it.
#[derive(Debug, Clone, Deserialize)]
pub struct Release {
    pub id: i64,
    pub tag_name: String,
    /// True while only people who may write see it.
    pub draft: bool,
    /// The notes.
    pub body: Option<String>,
    /// Page of the release.
    pub html_url: String,
    #[serde(default)]
    pub assets: Vec<Asset>,
}

/// A file of a release as GitHub has it.
#[derive(Debug, Clone, Deserialize)]
pub struct Asset {
    pub id: i64,
    pub name: String,
    /// `uploaded` once it is whole.
    pub state: String,
    pub size: u64,
    /// `sha256:` with the hash. Older servers do not say it.
    pub digest: Option<String>,
}

impl Asset {
    /// Returns true if the file is whole and has these bytes, as far as GitHub says.
    pub fn is(&self, size: u64, sha256: &str) -> bool {
        let is_same = |digest: &str| digest.strip_prefix("sha256:").is_none_or(|hash| hash == sha256);
        self.state == "uploaded" && self.size == size && self.digest.as_deref().is_none_or(is_same)
    }
}

/// A release to make.
#[derive(Debug, Serialize)]
pub struct NewRelease<'a> {
    pub tag_name: &'a str,
    /// Commit of the tag, if there is none yet.
    pub target_commitish: &'a str,
    pub name: &'a str,
    /// The notes.
    pub body: &'a str,
}

/// A file to upload.
pub struct NewAsset<'a> {
    pub name: &'a str,
    pub size: u64,
    pub content: BoxStream<'static, anyhow::Result<Bytes>>,
}

impl Client {
    /// Lists the releases of a repository, drafts among them.
    ///
    /// # Errors
    /// Fails when GitHub did not answer, or has more releases than are read.
    pub async fn releases(&self, target: Target<'_>) -> Result<Vec<Release>, SendError> {
        let mut all = Vec::new();
        for page in 1..=MAX_PAGES {
            let path = format!("/repos/{}/releases?per_page={PAGE}&page={page}", target.repo);
            let answer = self.ask_about::<()>(target, Access::Releases, Method::GET, &path, None).await?;
            let some: Vec<Release> = self.read(answer, MAX_ANSWER).await?;
            let is_last = some.len() < PAGE;
            all.extend(some);
            if is_last {
                return Ok(all);
            }
        }
        Err(SendError::Unsendable(format!("{} has more than {} releases", target.repo, PAGE * MAX_PAGES)))
    }

    /// Makes a release that nobody sees yet. If the answer is lost, it may have been made: list the releases before another
    /// try.
    ///
    /// # Errors
    /// Fails when GitHub did not answer, or did not accept it.
    pub async fn draft_release(&self, target: Target<'_>, release: &NewRelease<'_>) -> Result<Release, SendError> {
        let mut body = json!(release);
        body["draft"] = true.into();
        let path = format!("/repos/{}/releases", target.repo);
        let answer = self.ask_about(target, Access::Releases, Method::POST, &path, Some(&body)).await?;
        self.read(answer, MAX_ANSWER).await
    }

    /// Shows a draft to everyone, with this tag and these notes.
    ///
    /// # Errors
    /// Fails when GitHub did not answer, or did not accept it: another release may have the tag.
    pub async fn show_release(
        &self,
        target: Target<'_>,
        draft: &Release,
        release: &NewRelease<'_>,
    ) -> Result<Release, SendError> {
        let path = format!("/repos/{}/releases/{}", target.repo, draft.id);
        let mut body = json!(release);
        body["draft"] = false.into();
        let answer = self.ask_about(target, Access::Releases, Method::PATCH, &path, Some(&body)).await?;
        self.read(answer, MAX_ANSWER).await
    }

    /// Removes a draft.
    ///
    /// # Errors
    /// Fails when GitHub did not answer, or did not accept that.
    pub async fn remove_draft(&self, target: Target<'_>, release: &Release) -> Result<(), SendError> {
        self.remove(target, &format!("/repos/{}/releases/{}", target.repo, release.id)).await
    }

    /// Removes a file of a release.
    ///
    /// # Errors
    /// Fails when GitHub did not answer, or did not accept that.
    pub async fn remove_asset(&self, target: Target<'_>, asset: &Asset) -> Result<(), SendError> {
        self.remove(target, &format!("/repos/{}/releases/assets/{}", target.repo, asset.id)).await
    }

    async fn remove(&self, target: Target<'_>, path: &str) -> Result<(), SendError> {
        match self.ask_about::<()>(target, Access::Releases, Method::DELETE, path, None).await {
            // It is gone, which is what was wanted.
            Ok(_) | Err(SendError::Refused { status: 404, .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Adds a file to a release. Only a few pieces of it are in memory at a time.
    ///
    /// # Errors
    /// Fails when GitHub did not answer, or did not accept the file: one of that name may be there.
    pub async fn upload_asset(
        &self,
        target: Target<'_>,
        release: &Release,
        NewAsset { name, size, content }: NewAsset<'_>,
    ) -> Result<Asset, SendError> {
        let server = self.at(target.repo);
        let grant = self.grant(target, Access::Releases).await?;
        let token = grant.token.ok_or_else(|| SendError::NoAccess("there is no token to publish with".to_owned()))?;
        let mut url = server.uploads()?;
        if let Ok(mut path) = url.path_segments_mut() {
            let id = release.id.to_string();
            path.pop_if_empty().extend(["repos", target.repo.owner(), target.repo.name(), "releases", &id, "assets"]);
        }
        url.query_pairs_mut().append_pair("name", name);
        let broken = |why: String| SendError::Broken(format!("the upload of {name} broke: {why}"));
        // An answer must not choose who sees the token.
        let client = reqwest::Client::builder().redirect(Policy::none()).connect_timeout(server.timeout).build();
        let client = client.map_err(|error| broken(error.to_string()))?;
        let request = client
            .post(url)
            .bearer_auth(token.expose_secret())
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_LENGTH, size)
            .header(http::header::USER_AGENT, concat!("trainyard/", env!("CARGO_PKG_VERSION")))
            .timeout(UPLOAD_LIMIT + Duration::from_secs(size / SLOWEST))
            .body(Body::wrap_stream(content));
        // Without the address in its words: they are shown to people.
        let lost = |error: reqwest::Error| broken(error.without_url().to_string());
        let mut answer = request.send().await.map_err(lost)?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(lost)? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_WORDS {
                return Err(broken("the answer is too long".to_owned()));
            }
        }
        let body = Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed();
        let mut answer = http::Response::new(body);
        (*answer.status_mut(), *answer.headers_mut()) = (status, headers);
        let answer = server.accepted(answer).await?;
        server.read(answer, MAX_ANSWER).await
    }

    /// Returns the address below which files are uploaded.
    fn uploads(&self) -> Result<Url, SendError> {
        let mut url = self.api_url.clone();
        let host = url.host_str().and_then(|host| host.strip_prefix("api.")).map(|rest| format!("uploads.{rest}"));
        let is_cloud = |host: &String| host == "uploads.github.com" || host.ends_with(".ghe.com");
        let moved = match host.filter(is_cloud) {
            Some(host) => url.set_host(Some(&host)).is_ok(),
            // GitHub Enterprise Server has both below one host.
            None => match url.path().trim_end_matches('/').strip_suffix("/api/v3").map(str::to_owned) {
                Some(base) => {
                    url.set_path(&format!("{base}/api/uploads"));
                    true
                }
                None => false,
            },
        };
        let no_uploads =
            || SendError::Unsendable(format!("{} takes no releases from Trainyard: only GitHub does", self.server));
        moved.then_some(url).ok_or_else(no_uploads)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::github::GitHubConfig;

    #[tokio::test]
    async fn files_go_to_the_host_for_uploads() {
        for (api_url, uploads) in [
            ("https://api.github.com", Some("https://uploads.github.com/")),
            ("https://api.octocorp.ghe.com", Some("https://uploads.octocorp.ghe.com/")),
            ("https://github.example.org/api/v3", Some("https://github.example.org/api/uploads")),
            ("https://github.example.org/api/v3/", Some("https://github.example.org/api/uploads")),
            ("https://git.example.org/api/v1", None),
        ] {
            let config = GitHubConfig { api_url: Url::parse(api_url).unwrap(), ..GitHubConfig::default() };
            let found = Client::new(&config).unwrap().uploads().ok();
            assert_eq!(found.as_ref().map(Url::as_str), uploads, "{api_url}");
        }
    }

    #[test]
    fn an_asset_is_known_by_what_github_says_of_it() {
        let asset = |state: &str, digest: Option<&str>| Asset {
            id: 1,
            name: "a".to_owned(),
            state: state.to_owned(),
            size: 3,
            digest: digest.map(str::to_owned),
        };
        assert!(asset("uploaded", None).is(3, "ab") && asset("uploaded", Some("sha256:ab")).is(3, "ab"));
        assert!(!asset("uploaded", Some("sha256:cd")).is(3, "ab") && !asset("uploaded", None).is(4, "ab"));
        assert!(!asset("starter", None).is(3, "ab"));
    }
}
