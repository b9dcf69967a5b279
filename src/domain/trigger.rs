//! What asks for a build.

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
