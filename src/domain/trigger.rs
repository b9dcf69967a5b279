//! What asks for a build.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{RepoName, Sha};

/// What kind of thing asked for a build; the words of `type` in Travis's condition language, and `tag`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, sqlx::Type)]
#[sqlx(type_name = "trigger_kind", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum TriggerKind {
    /// Commits were pushed to a branch.
    Push,
    /// A pull request was opened, reopened, or got new commits.
    PullRequest,
    /// A tag was pushed.
    Tag,
    /// A schedule.
    Cron,
    /// A person or a program through the API.
    Api,
    /// A Travis webhook.
    Travis,
}

impl fmt::Display for TriggerKind {
    /// The kind in words, as pages and logs have it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Push => "push",
            Self::PullRequest => "pull request",
            Self::Tag => "tag",
            Self::Cron => "cron",
            Self::Api => "API",
            Self::Travis => "Travis",
        })
    }
}

/// What a delivery asks for: one commit of one repository, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    /// What kind of thing asked.
    pub kind: TriggerKind,
    /// The repository whose settings, secrets and statuses are concerned: the base repository of a pull request.
    pub repo: RepoName,
    /// The branch pushed to, or a pull request's base branch; none for a tag.
    pub branch: Option<String>,
    /// The tag's name.
    pub tag: Option<String>,
    /// The commit that gets the status: the pushed commit, or a pull request's head.
    pub sha: Sha,
    /// The branch's commit before the push, or a pull request's base commit; none for a new branch.
    pub before: Option<Sha>,
    /// The head commit's message, subject and body. A pull request's payload has none; intake reads it from git.
    pub message: Option<String>,
    /// The head commit's author as the payload names them.
    pub author: Option<String>,
    /// The login of the account that caused the event.
    pub sender: Option<String>,
    /// GitHub's page that compares the commits.
    pub compare_url: Option<String>,
    /// What is particular to a pull request.
    pub pull_request: Option<PullRequest>,
}

impl Trigger {
    /// A push of one commit to a branch, about which nothing else is known.
    pub fn push(repo: RepoName, branch: &str, sha: Sha) -> Self {
        Self {
            kind: TriggerKind::Push,
            repo,
            branch: Some(branch.to_owned()),
            tag: None,
            sha,
            before: None,
            message: None,
            author: None,
            sender: None,
            compare_url: None,
            pull_request: None,
        }
    }
}

/// What is particular to a pull request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullRequest {
    /// Its number in the base repository.
    pub number: i64,
    /// Its title.
    pub title: String,
    /// The branch it comes from.
    pub head_branch: String,
    /// The repository it comes from; none when that was deleted.
    pub head_repo: Option<RepoName>,
    /// Whether it is a draft.
    pub draft: bool,
}

impl PullRequest {
    /// Whether it comes from another repository than `base`, so that it must not see secrets.
    pub fn is_from_fork(&self, base: &RepoName) -> bool {
        self.head_repo.as_ref() != Some(base)
    }
}
