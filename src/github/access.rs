//! The access to a repository: a token of the App's installation where the App is installed, otherwise the personal
//! token. On a server besides GitHub, it is the token of that server.

use http::Method;
use secrecy::SecretString;
use serde::Serialize;

use super::request::Answer;
use super::{Client, GitHubConfig, SendError};
use crate::domain::RepoName;
use crate::git::Credentials;

/// The repository of a request.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    pub repo: &'a RepoName,
    /// GitHub's number of the repository, if GitHub has confirmed it. It stays the same when the name changes.
    pub number: Option<i64>,
}

/// The rights in a repository that one kind of request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// The name and number of the repository.
    Metadata,
    /// Its files.
    Contents,
    /// Statuses of its commits.
    Statuses,
    /// Check runs of its commits.
    Checks,
    /// Its pull requests, and the comments on them.
    PullRequests,
    /// The list of its open pull requests. Without this right, those whose webhook never came are not found.
    OpenPulls,
    /// Its releases.
    Releases,
}

impl Access {
    /// Lists the kinds of access that the service needs with this configuration. `releases` is true if some repositories
    /// may publish them.
    pub fn needed(config: &GitHubConfig, releases: bool) -> impl Iterator<Item = Self> {
        let always = [Self::Metadata, Self::Contents, Self::Statuses];
        let more = [(config.checks, Self::Checks), (config.comment, Self::PullRequests), (releases, Self::Releases)];
        always.into_iter().chain(more.into_iter().filter_map(|(is_needed, access)| is_needed.then_some(access)))
    }

    /// Returns the permission's name and level, as GitHub writes them.
    pub fn permission(self) -> (&'static str, &'static str) {
        match self {
            Self::Metadata => ("metadata", "read"),
            Self::Contents => ("contents", "read"),
            Self::Statuses => ("statuses", "write"),
            Self::Checks => ("checks", "write"),
            Self::PullRequests => ("pull_requests", "write"),
            Self::OpenPulls => ("pull_requests", "read"),
            Self::Releases => ("contents", "write"),
        }
    }
}

/// The owner of the rate limit that a request counts towards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Holder {
    /// The person of the personal token.
    Person,
    /// An installation of the App, by GitHub's number.
    Installation(i64),
    /// The person of the token of another server, by its place in the configuration.
    Forge(usize),
}

/// A token for requests about a repository.
#[derive(Debug, Clone)]
pub(super) struct Grant {
    /// `None` for requests without any.
    pub(super) token: Option<SecretString>,
    pub(super) holder: Holder,
}

impl Client {
    /// Returns the token for requests about a repository.
    ///
    /// # Errors
    /// Fails when GitHub gives the App no token for it, and when there is no other one.
    pub(super) async fn grant(&self, target: Target<'_>, access: Access) -> Result<Grant, SendError> {
        let server = self.at(target.repo);
        if !server.installations.has_app() {
            return Ok(Grant { token: server.token.clone(), holder: server.person });
        }
        match self.installation_token(target, access).await? {
            Some(minted) => Ok(Grant { token: Some(minted.token), holder: Holder::Installation(minted.installation) }),
            None if self.token.is_some() => Ok(Grant { token: self.token.clone(), holder: Holder::Person }),
            None => Err(SendError::NoAccess(format!("the GitHub App is not installed on {}", target.repo))),
        }
    }

    /// Returns the owner of the rate limit for requests about a repository.
    ///
    /// # Errors
    /// Fails when there is no token for them.
    pub async fn holder(&self, target: Target<'_>, access: Access) -> Result<Holder, SendError> {
        Ok(self.grant(target, access).await?.holder)
    }

    /// Asks GitHub about a repository. Returns the response if GitHub accepted the request.
    ///
    /// A token of the App that GitHub does not accept any more is replaced once.
    pub(super) async fn ask_about<B: Serialize>(
        &self,
        target: Target<'_>,
        access: Access,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<Answer, SendError> {
        let response = self.ask_unless(target, access, (method, path), body, None).await?;
        self.at(target.repo).accepted(response).await
    }

    /// Asks GitHub about a repository as [`Client::ask_about`] does. Returns any response: 304 if the thing still has the
    /// mark `etag`.
    pub(super) async fn ask_unless<B: Serialize>(
        &self,
        target: Target<'_>,
        access: Access,
        (method, path): (Method, &str),
        body: Option<&B>,
        etag: Option<&str>,
    ) -> Result<Answer, SendError> {
        let (server, grant) = (self.at(target.repo), self.grant(target, access).await?);
        let response = server.follow_unless(method.clone(), path, body, grant.token.as_ref(), etag).await?;
        if response.status() != http::StatusCode::UNAUTHORIZED || !matches!(grant.holder, Holder::Installation(_)) {
            return Ok(response);
        }
        self.drop_token(target, access, &grant).await;
        let grant = self.grant(target, access).await?;
        server.follow_unless(method, path, body, grant.token.as_ref(), etag).await
    }

    /// Returns the credentials with which git fetches a repository; `None` if there are none at all.
    ///
    /// # Errors
    /// Fails when GitHub gives the App no token for it, and when there is no other one.
    pub async fn git_credentials(&self, repo: &RepoName) -> Result<Option<Credentials>, SendError> {
        let grant = self.grant(Target { repo, number: None }, Access::Contents).await?;
        Ok(grant.token.map(|token| Credentials { origin: self.at(repo).clone_origin.clone(), token }))
    }

    /// Drops the token with which git fetches a repository, as git was told that it is not good any more.
    pub async fn git_credentials_refused(&self, repo: &RepoName, refused: &Credentials) {
        let grant = Grant { token: Some(refused.token.clone()), holder: self.at(repo).person };
        self.drop_token(Target { repo, number: None }, Access::Contents, &grant).await;
    }
}
