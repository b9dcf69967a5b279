//! Events by which a person asks for something: a comment, a label, a button of a check run.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{Event, RepositoryPayload, ignored};
use crate::domain::{Command, Sha};

/// A person as payloads name them. GitHub has to confirm it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// GitHub's number of the account, which survives renames.
    pub id: i64,
    pub login: String,
}

/// A person's request, as a payload claims it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    pub by: Person,
    pub what: Asked,
}

/// The content of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// A comment on a pull request that begins with a command.
    Comment {
        /// GitHub's number of the comment.
        id: i64,
        pull_request: i64,
        body: String,
    },
    /// The label `train` on a pull request.
    Train {
        /// Number of the pull request.
        pull_request: i64,
    },
    /// Another label on a pull request. The configuration says whether it asks for anything.
    Label {
        pull_request: i64,
        name: String,
        /// Head of the pull request when the label was set.
        sha: Sha,
    },
    /// A button of a check run; without a command, *Re-run*.
    CheckRun {
        /// GitHub's number of the check run.
        id: i64,
        sha: Sha,
        command: Option<Command>,
    },
    /// *Re-run all checks* of a commit.
    CheckSuite {
        /// GitHub's number of the check suite.
        id: i64,
        sha: Sha,
    },
}

/// Name of the label that asks for a training.
pub const TRAIN_LABEL: &str = "train";

#[derive(Deserialize)]
struct AccountPayload {
    id: i64,
    login: String,
    #[serde(rename = "type")]
    kind: Option<String>,
}

impl AccountPayload {
    /// Returns the person; `None` for a program.
    fn person(self) -> Option<Person> {
        let is_person = self.kind.as_deref().is_none_or(|kind| kind == "User");
        is_person.then_some(Person { id: self.id, login: self.login })
    }
}

fn ask(repository: RepositoryPayload, by: AccountPayload, what: Asked) -> anyhow::Result<Event> {
    let Some(by) = by.person() else { return Ok(ignored("the sender is a program")) };
    Ok(Event::Ask(Box::new(repository.into_repository()?), Box::new(Ask { by, what })))
}

#[derive(Deserialize)]
pub(super) struct IssueComment {
    action: String,
    issue: Issue,
    comment: Comment,
    repository: RepositoryPayload,
}

#[derive(Deserialize)]
struct Issue {
    number: i64,
    pull_request: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Comment {
    id: i64,
    body: Option<String>,
    // Null when the account was deleted.
    user: Option<AccountPayload>,
    /// The App that wrote it.
    performed_via_github_app: Option<IgnoredAny>,
}

pub(super) fn issue_comment(payload: IssueComment) -> anyhow::Result<Event> {
    if payload.action != "created" {
        return Ok(ignored(&format!("comment {}", payload.action)));
    }
    if payload.issue.pull_request.is_none() {
        return Ok(ignored("a comment on an issue"));
    }
    let body = payload.comment.body.unwrap_or_default();
    if Command::of_comment(&body).is_none() {
        return Ok(ignored("a comment without a command"));
    }
    let Some(user) = payload.comment.user.filter(|_| payload.comment.performed_via_github_app.is_none()) else {
        return Ok(ignored("a comment of a program"));
    };
    let asked = Asked::Comment { id: payload.comment.id, pull_request: payload.issue.number, body };
    ask(payload.repository, user, asked)
}

#[derive(Deserialize)]
pub(super) struct Labeled {
    label: Label,
    pull_request: LabeledPull,
    repository: RepositoryPayload,
    sender: AccountPayload,
}

#[derive(Deserialize)]
struct Label {
    name: String,
}

#[derive(Deserialize)]
struct LabeledPull {
    number: i64,
    head: LabeledHead,
}

#[derive(Deserialize)]
struct LabeledHead {
    sha: String,
}

pub(super) fn labeled(payload: Labeled) -> anyhow::Result<Event> {
    let LabeledPull { number: pull_request, head } = payload.pull_request;
    let what = match payload.label.name {
        name if name == TRAIN_LABEL => Asked::Train { pull_request },
        name => Asked::Label { pull_request, name, sha: head.sha.parse()? },
    };
    ask(payload.repository, payload.sender, what)
}

#[derive(Deserialize)]
pub(super) struct CheckRunPayload {
    action: String,
    check_run: CheckPayload,
    requested_action: Option<RequestedAction>,
    repository: RepositoryPayload,
    sender: AccountPayload,
}

#[derive(Deserialize)]
struct CheckPayload {
    id: i64,
    head_sha: String,
}

#[derive(Deserialize)]
struct RequestedAction {
    identifier: String,
}

pub(super) fn check_run(payload: CheckRunPayload) -> anyhow::Result<Event> {
    let identifier = payload.requested_action.map(|action| action.identifier);
    let command = match (payload.action.as_str(), identifier.as_deref()) {
        ("rerequested", _) => None,
        ("requested_action", Some("retry")) => Some(Command::Retry),
        ("requested_action", Some("cancel")) => Some(Command::Cancel),
        ("requested_action", Some("approve")) => Some(Command::Approve),
        ("requested_action", _) => return Ok(ignored("a button that we do not know")),
        (other, _) => return Ok(ignored(&format!("check_run {other}"))),
    };
    let CheckPayload { id, head_sha } = payload.check_run;
    ask(payload.repository, payload.sender, Asked::CheckRun { id, sha: head_sha.parse()?, command })
}

#[derive(Deserialize)]
pub(super) struct CheckSuitePayload {
    action: String,
    check_suite: CheckPayload,
    repository: RepositoryPayload,
    sender: AccountPayload,
}

pub(super) fn check_suite(payload: CheckSuitePayload) -> anyhow::Result<Event> {
    if payload.action != "rerequested" {
        return Ok(ignored(&format!("check_suite {}", payload.action)));
    }
    let CheckPayload { id, head_sha } = payload.check_suite;
    ask(payload.repository, payload.sender, Asked::CheckSuite { id, sha: head_sha.parse()? })
}
