//! Repositories as GitHub knows them. A payload only claims to be about one.

use http::Method;
use serde::Deserialize;
use url::Url;

use super::access::{Access, Holder, Target};
use super::{Client, SendError};
use crate::domain::RepoName;

/// Maximum size of GitHub's description of a repository, in bytes. It has some ten thousand.
const MAX_DESCRIPTION: usize = 1 << 20;

/// GitHub's answer about a repository.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct KnownRepository {
    /// GitHub's number of the repository.
    pub id: i64,
    /// The current name. It differs from the name in the request when the repository was renamed.
    pub full_name: String,
    /// True when the repository is not public.
    #[serde(default)]
    pub private: bool,
    /// True when nobody can push any more, and GitHub accepts no statuses.
    #[serde(default)]
    pub archived: bool,
    #[serde(default)]
    pub default_branch: Option<String>,
}

impl Client {
    /// Returns the address from which git fetches a repository.
    pub fn clone_url(&self, repo: &RepoName) -> Url {
        let server = self.at(repo);
        let address = format!("{}{}/{repo}.git", server.clone_origin.ascii_serialization(), server.clone_path());
        Url::parse(&address).unwrap_or_else(|_| unreachable!("an origin and a name without special characters"))
    }

    /// Returns the path below which a server has its repositories: Gitea may share a host with other programs.
    fn clone_path(&self) -> &str {
        match self.person {
            Holder::Forge(_) => self.api_url.path().trim_end_matches("/api/v1"),
            _ => "",
        }
    }

    /// Asks for the repository of this name.
    ///
    /// # Errors
    /// Fails when GitHub did not answer, or has no such repository for this token.
    pub async fn repository(&self, name: &RepoName) -> Result<KnownRepository, SendError> {
        let target = Target { repo: name, number: None };
        let answer =
            self.ask_about::<()>(target, Access::Metadata, Method::GET, &format!("/repos/{name}"), None).await?;
        self.read(answer, MAX_DESCRIPTION).await
    }
}
