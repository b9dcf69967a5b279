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
    /// True when the repository is not public. Some answers leave it out.
    pub private: Option<bool>,
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

    /// Asks whether a repository is private; `None` if GitHub does not say. One that is gone counts as private: so does one
    /// that our credentials may not see any more.
    ///
    /// # Errors
    /// Fails when GitHub did not answer.
    pub async fn is_private(&self, target: Target<'_>) -> Result<Option<bool>, SendError> {
        let path = format!("/repos/{}", target.repo);
        match self.ask_about::<()>(target, Access::Metadata, Method::GET, &path, None).await {
            Ok(answer) => {
                let known: KnownRepository = self.read(answer, MAX_DESCRIPTION).await?;
                // Another repository may have the name by now.
                let is_it = target.number.is_none_or(|number| number == known.id);
                Ok(if is_it { known.private } else { Some(true) })
            }
            Err(SendError::Refused { status: 404 | 410 | 451, .. }) => Ok(Some(true)),
            Err(error) => Err(error),
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
