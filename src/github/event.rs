//! Parser for GitHub's payloads.
//!
//! The structs name only the fields that are used, so that a new action, or another server's spelling of the rest, does
//! not fail the parse. Field names are GitHub's (its REST documentation, "Webhook events and payloads").

use anyhow::Context as _;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::domain::{PullRequest, RepoName, Sha, Trigger, TriggerKind, bounded, pg_text};

/// A repository as GitHub describes it in payloads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// GitHub's number of the repository.
    pub id: i64,
    pub name: RepoName,
    /// True when the repository is not public.
    pub private: bool,
    pub default_branch: String,
    /// Address from which git fetches the repository.
    pub clone_url: String,
}

/// Request of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A build of the trigger's commit.
    Build(Box<Repository>, Box<Trigger>),
    /// The GitHub App was installed, removed or allowed something else, in these words.
    Installations(String),
    /// No build, for this reason.
    Ignored(String),
}

/// Parses a payload, as JSON to its end even when the event is ignored.
///
/// # Errors
/// Fails when the body is not what GitHub sends for this event.
pub fn parse(event: &str, body: &[u8]) -> anyhow::Result<Event> {
    // The parser skips strings whose value is not used, so the encoding is checked here.
    let body = str::from_utf8(body)?;
    match event {
        "push" => push(read(event, body)?),
        "pull_request" => pull_request(read(event, body)?),
        "installation" | "installation_repositories" => Ok(installations(event, read(event, body)?)),
        other => {
            let IgnoredAny = read(event, body)?;
            let reason = if other == "ping" { other.to_owned() } else { format!("{other} events ask for nothing") };
            Ok(ignored(&reason))
        }
    }
}

/// Returns the event for a reason that may have words of the payload.
fn ignored(reason: &str) -> Event {
    Event::Ignored(bounded(pg_text(reason), 300))
}

fn read<'a, T: Deserialize<'a>>(event: &str, body: &'a str) -> anyhow::Result<T> {
    serde_json::from_str(body).with_context(|| format!("the body is not a {event} payload of GitHub"))
}

#[derive(Deserialize)]
struct RepositoryPayload {
    id: i64,
    full_name: String,
    // GitHub always says it. A guess must not show a private repository to everyone.
    #[serde(default = "is_private")]
    private: bool,
    clone_url: String,
    #[serde(default)]
    default_branch: Option<String>,
}

fn is_private() -> bool {
    true
}

impl RepositoryPayload {
    fn into_repository(self) -> anyhow::Result<Repository> {
        Ok(Repository {
            id: self.id,
            name: self.full_name.parse()?,
            private: self.private,
            default_branch: pg_text(self.default_branch.as_deref().unwrap_or("main")),
            clone_url: pg_text(&self.clone_url),
        })
    }
}

#[derive(Deserialize)]
struct Account {
    login: String,
}

#[derive(Deserialize)]
struct InstallationPayload {
    action: String,
    installation: Installation,
}

#[derive(Deserialize)]
struct Installation {
    id: i64,
    account: Account,
}

fn installations(event: &str, payload: InstallationPayload) -> Event {
    let InstallationPayload { action, installation: Installation { id, account } } = payload;
    let words = format!("{event} {action} for {}, number {id}", account.login);
    Event::Installations(bounded(pg_text(&words), 300))
}

#[derive(Deserialize)]
struct PushPayload {
    #[serde(rename = "ref")]
    git_ref: String,
    before: String,
    after: String,
    #[serde(default)]
    deleted: bool,
    compare: Option<String>,
    head_commit: Option<HeadCommit>,
    repository: RepositoryPayload,
    sender: Option<Account>,
}

#[derive(Deserialize)]
struct HeadCommit {
    id: String,
    message: String,
    author: Option<CommitAuthor>,
}

#[derive(Deserialize)]
struct CommitAuthor {
    name: Option<String>,
}

fn push(payload: PushPayload) -> anyhow::Result<Event> {
    if payload.deleted {
        return Ok(ignored(&format!("{} was deleted", payload.git_ref)));
    }
    let branch = payload.git_ref.strip_prefix("refs/heads/").map(str::to_owned);
    let tag = payload.git_ref.strip_prefix("refs/tags/").map(str::to_owned);
    let kind = match (&branch, &tag) {
        (Some(_), _) => TriggerKind::Push,
        (_, Some(_)) => TriggerKind::Tag,
        _ => return Ok(ignored(&format!("{} is neither a branch nor a tag", payload.git_ref))),
    };
    let before: Sha = payload.before.parse()?;
    // For an annotated tag `after` is the tag object; the commit is the head commit.
    let sha: Sha = payload.head_commit.as_ref().map_or(payload.after, |commit| commit.id.clone()).parse()?;
    let (message, author) = match payload.head_commit {
        Some(commit) => (Some(commit.message), commit.author.and_then(|author| author.name)),
        None => (None, None),
    };
    let repository = payload.repository.into_repository()?;
    let trigger = Trigger {
        kind,
        repo: repository.name.clone(),
        branch,
        tag,
        sha,
        before: (!before.is_zero()).then_some(before),
        message,
        author,
        sender: payload.sender.map(|sender| sender.login),
        compare_url: payload.compare,
        pull_request: None,
        travis: None,
    };
    Ok(Event::Build(Box::new(repository), Box::new(trigger.storable())))
}

#[derive(Deserialize)]
struct PullRequestPayload {
    action: String,
    #[serde(default)]
    changes: Changes,
    pull_request: PullRequestFacts,
    repository: RepositoryPayload,
    sender: Option<Account>,
}

/// Parts of a pull request that an `edited` event changes.
#[derive(Default, Deserialize)]
struct Changes {
    base: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct PullRequestFacts {
    number: i64,
    title: String,
    #[serde(default)]
    draft: bool,
    user: Option<Account>,
    html_url: Option<String>,
    head: PullRequestSide,
    base: PullRequestSide,
}

#[derive(Deserialize)]
struct PullRequestSide {
    #[serde(rename = "ref")]
    git_ref: String,
    sha: String,
    // Null when the fork was deleted.
    repo: Option<SideRepository>,
}

#[derive(Deserialize)]
struct SideRepository {
    full_name: String,
}

fn pull_request(payload: PullRequestPayload) -> anyhow::Result<Event> {
    // Another base makes another merge commit.
    let is_retargeted = payload.action == "edited" && payload.changes.base.is_some();
    if !is_retargeted && !matches!(payload.action.as_str(), "opened" | "synchronize" | "reopened") {
        return Ok(ignored(&format!("pull request {}", payload.action)));
    }
    let pull = payload.pull_request;
    let repository = payload.repository.into_repository()?;
    let head_repo = pull.head.repo.map(|repo| repo.full_name.parse()).transpose()?;
    let trigger = Trigger {
        kind: TriggerKind::PullRequest,
        repo: repository.name.clone(),
        branch: Some(pull.base.git_ref),
        tag: None,
        sha: pull.head.sha.parse()?,
        before: Some(pull.base.sha.parse()?),
        message: None,
        author: pull.user.map(|user| user.login),
        sender: payload.sender.map(|sender| sender.login),
        compare_url: pull.html_url,
        pull_request: Some(PullRequest {
            number: pull.number,
            title: pull.title,
            head_branch: pull.head.git_ref,
            head_repo,
            draft: pull.draft,
        }),
        travis: None,
    };
    Ok(Event::Build(Box::new(repository), Box::new(trigger.storable())))
}
