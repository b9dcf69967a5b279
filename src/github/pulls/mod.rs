//! Pull requests as GitHub has them now, the comments and labels on them, and the rights of the people who make those.

mod comments;
mod labels;
mod people;

pub use comments::{Comment, NewComment, Reaction, Written};
pub use labels::LabelSet;

use chrono::{DateTime, Utc};
use http::Method;
use serde::Deserialize;

use super::access::{Access, Target};
use super::{Client, SendError};
use crate::domain::{PullRequest, RepoName, Sha};

/// Maximum size of GitHub's description of a pull request, in bytes. It has some twenty thousand, and a body.
const MAX_ANSWER: usize = 1 << 20;

/// A pull request as GitHub has it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownPull {
    pub pull_request: PullRequest,
    pub is_open: bool,
    /// Head commit.
    pub head: Sha,
    /// Branch into which it is to be merged.
    pub base_branch: String,
    /// Commit of that branch.
    pub base: Sha,
    pub author: Option<String>,
    /// Time of the last push to any branch of the repository that it comes from; `None` when that was deleted.
    pub pushed_at: Option<DateTime<Utc>>,
}

#[derive(Deserialize)]
struct Answer {
    number: i64,
    state: String,
    title: String,
    #[serde(default)]
    draft: bool,
    user: Option<Account>,
    head: Side,
    base: Side,
}

#[derive(Deserialize)]
struct Account {
    login: String,
}

#[derive(Deserialize)]
struct Side {
    #[serde(rename = "ref")]
    branch: String,
    sha: Sha,
    repo: Option<SideRepository>,
}

#[derive(Deserialize)]
struct SideRepository {
    full_name: RepoName,
    pushed_at: Option<DateTime<Utc>>,
}

impl From<Answer> for KnownPull {
    fn from(answer: Answer) -> Self {
        let Answer { number, state, title, draft, user, head, base } = answer;
        let (head_repo, pushed_at) = head.repo.map(|repo| (repo.full_name, repo.pushed_at)).unzip();
        Self {
            pull_request: PullRequest { number, title, head_branch: head.branch, head_repo, draft },
            is_open: state == "open",
            head: head.sha,
            base_branch: base.branch,
            base: base.sha,
            author: user.map(|user| user.login),
            pushed_at: pushed_at.flatten(),
        }
    }
}

impl Client {
    /// Asks for a pull request.
    ///
    /// # Errors
    /// Fails when GitHub did not answer, or has no such pull request.
    pub async fn pull(&self, target: Target<'_>, number: i64) -> Result<KnownPull, SendError> {
        let path = format!("/repos/{}/pulls/{number}", target.repo);
        let answer = self.ask_about::<()>(target, Access::PullRequests, Method::GET, &path, None).await?;
        Ok(self.read::<Answer>(answer, MAX_ANSWER).await?.into())
    }
}
