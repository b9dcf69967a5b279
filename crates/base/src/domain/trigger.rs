//! The event that requests a build.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{RepoName, Sha, bounded, pg_text};

/// Kind of event that requests a build. The words are those of `type` in Travis's condition language, and `tag`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "sqlx", derive(sqlx::Type), sqlx(type_name = "trigger_kind", rename_all = "snake_case"))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum TriggerKind {
    /// Commits were pushed to a branch.
    Push,
    /// A pull request was opened, reopened, or got new commits.
    PullRequest,
    /// A tag was pushed.
    Tag,
    /// A schedule requested the build.
    Cron,
    /// A person or a program requested the build through the API.
    Api,
    /// A Travis webhook requested the build.
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

/// The build that a delivery requests: one commit of one repository, and the reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    pub kind: TriggerKind,
    /// The repository whose settings, secrets and statuses apply: the base repository of a pull request.
    pub repo: RepoName,
    /// The branch pushed to, or a pull request's base branch; `None` for a tag.
    pub branch: Option<String>,
    pub tag: Option<String>,
    /// The commit that gets the status: the pushed commit, or a pull request's head.
    pub sha: Sha,
    /// The branch's commit before the push, or a pull request's base commit; `None` for a new branch.
    pub before: Option<Sha>,
    /// The head commit's message, subject and body. A pull request's payload does not contain it; intake reads it from
    /// git.
    pub message: Option<String>,
    /// Author of the head commit, as the payload names them.
    pub author: Option<String>,
    /// Login of the account that caused the event.
    pub sender: Option<String>,
    /// GitHub's page that compares the commits.
    pub compare_url: Option<String>,
    pub pull_request: Option<PullRequest>,
    /// The build of Travis that requests this one.
    pub travis: Option<TravisBuild>,
}

/// A build of Travis CI.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TravisBuild {
    /// Number in its repository at Travis.
    pub number: String,
    /// Its page.
    pub url: Option<String>,
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
            travis: None,
        }
    }

    /// Maximum length of a commit message, in bytes. Git has no limit, and a program's environment has one.
    pub const MAX_MESSAGE: usize = 64 << 10;
    /// Maximum length of the other texts, in bytes.
    const MAX_TEXT: usize = 1 << 10;

    /// Replaces characters that Postgres refuses, and cuts texts that are too long.
    pub fn storable(mut self) -> Self {
        let clean = |text: &mut String, most| *text = bounded(pg_text(text), most);
        if let Some(message) = &mut self.message {
            clean(message, Self::MAX_MESSAGE);
        }
        let Self { branch, tag, author, sender, compare_url, pull_request, travis, .. } = &mut self;
        let texts = [branch, tag, author, sender, compare_url].into_iter().flatten();
        let of_pull = pull_request.iter_mut().flat_map(|pull| [&mut pull.title, &mut pull.head_branch]);
        let of_travis = travis.iter_mut().flat_map(|build| [Some(&mut build.number), build.url.as_mut()]).flatten();
        texts.chain(of_pull).chain(of_travis).for_each(|text| clean(text, Self::MAX_TEXT));
        self
    }

    /// Returns the rank of the build's jobs in the queue of its repository.
    pub fn priority(&self, default_branch: &str) -> Priority {
        match (self.kind, &self.pull_request) {
            (_, Some(pull)) if pull.is_from_fork(&self.repo) => Priority::Fork,
            (TriggerKind::PullRequest, _) | (_, Some(_)) => Priority::PullRequest,
            (TriggerKind::Push, None) if self.branch.as_deref() != Some(default_branch) => Priority::Push,
            // A tag, cron or API build was requested for its own sake.
            _ => Priority::DefaultBranch,
        }
    }
}

/// Rank of a job in the queue of its repository: a higher one is claimed first. The numbers are those of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "sqlx", derive(sqlx::Type))]
#[repr(i16)]
pub enum Priority {
    /// A pull request from another repository: anyone can open one.
    Fork = -1,
    /// A pull request from the repository itself.
    PullRequest = 0,
    /// A push to a branch other than the default branch.
    Push = 1,
    /// A push to the default branch, a tag, or a build that was requested for its own sake.
    DefaultBranch = 2,
}

impl fmt::Display for Priority {
    /// The rank in words, as pages have it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fork => "pull request from a fork",
            Self::PullRequest => "pull request",
            Self::Push => "push",
            Self::DefaultBranch => "default branch or tag",
        })
    }
}

/// The details of a pull request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullRequest {
    /// Number in the base repository.
    pub number: i64,
    pub title: String,
    /// The branch that the pull request comes from.
    pub head_branch: String,
    /// The repository that the pull request comes from; `None` when that repository was deleted.
    pub head_repo: Option<RepoName>,
    pub draft: bool,
}

impl PullRequest {
    /// Returns true if the pull request comes from another repository than `base`, so that it must not see secrets.
    pub fn is_from_fork(&self, base: &RepoName) -> bool {
        self.head_repo.as_ref().is_none_or(|head| !head.to_string().eq_ignore_ascii_case(&base.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_come_last_and_the_default_branch_first() {
        let repo: RepoName = "acme/styles".parse().expect("a name");
        let push = |branch| Trigger::push(repo.clone(), branch, "0".repeat(40).parse().expect("an id"));
        let pull = |head: Option<&str>| Trigger {
            kind: TriggerKind::PullRequest,
            pull_request: Some(PullRequest {
                number: 1,
                title: String::new(),
                head_branch: "main".to_owned(),
                head_repo: head.map(|head| head.parse().expect("a name")),
                draft: false,
            }),
            ..push("main")
        };
        let tag = Trigger { kind: TriggerKind::Tag, branch: None, tag: Some("main".to_owned()), ..push("main") };
        let order = [pull(None), pull(Some("acme/styles")), push("topic"), push("main")];
        let ranks = order.map(|trigger| trigger.priority("main"));
        assert_eq!(ranks, [Priority::Fork, Priority::PullRequest, Priority::Push, Priority::DefaultBranch]);
        assert!(ranks.is_sorted());
        assert_eq!(pull(Some("mallory/styles")).priority("main"), Priority::Fork);
        assert_eq!(tag.priority("main"), Priority::DefaultBranch);
    }
}
