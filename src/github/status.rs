//! Commit statuses to GitHub.

use chrono::{DateTime, Utc};
use http::{Method, StatusCode};
use serde::Serialize;
use url::Url;

use super::access::{Access, Target};
use super::request::date_of;
use super::{Client, SendError};
use crate::domain::{CommitState, RepoName, Sha};

/// Facts that come with a successful request.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    /// GitHub's clock, by which a wrong clock here is noticed.
    pub date: Option<DateTime<Utc>>,
}

/// A commit status to post.
#[derive(Debug, Clone)]
pub struct CommitStatus<'a> {
    pub repo: &'a RepoName,
    /// GitHub's number of the repository.
    pub number: i64,
    pub sha: &'a Sha,
    pub state: CommitState,
    /// Context, such as `trainyard/push`.
    pub context: &'a str,
    /// Description, at most 140 characters.
    pub description: &'a str,
    /// Page that the status links to.
    pub target_url: Url,
}

#[derive(Serialize)]
struct StatusBody<'a> {
    state: CommitState,
    context: &'a str,
    description: &'a str,
    target_url: &'a str,
}

impl Client {
    /// Posts a commit status, without retries.
    ///
    /// # Errors
    /// Fails when GitHub did not answer, or did not accept the status.
    pub async fn post_status(&self, status: &CommitStatus<'_>) -> Result<Sent, SendError> {
        let path = format!("/repos/{}/statuses/{}", status.repo, status.sha);
        let body = StatusBody {
            state: status.state,
            context: status.context,
            description: status.description,
            target_url: status.target_url.as_str(),
        };
        let target = Target { repo: status.repo, number: Some(status.number) };
        let answer = self.ask_about(target, Access::Statuses, Method::POST, &path, Some(&body)).await?;
        // Another success, such as that of a list, sets no status.
        if answer.status() != StatusCode::CREATED {
            let said = "the answer is not that a status was created".to_owned();
            let by = self.server_of(status.repo);
            return Err(SendError::Refused { by, status: answer.status().as_u16(), said });
        }
        Ok(Sent { date: date_of(&answer) })
    }
}
