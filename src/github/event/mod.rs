//! Parser for GitHub's payloads.
//!
//! The structs name only the fields that are used, so that a new action, or another server's spelling of the rest, does
//! not fail the parse. Field names are GitHub's (its REST documentation, "Webhook events and payloads"). Gitea and Forgejo
//! send the same payloads, with other words in a few places (their documentation, "Webhooks").

mod asks;

use anyhow::Context as _;
pub use asks::{Ask, Asked, Person, TRAIN_LABEL};
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
    /// A person asks for something that concerns builds of the repository.
    Ask(Box<Repository>, Box<Ask>),
    /// The GitHub App was installed, removed or allowed something else, in these words.
    Installations(String),
    /// The repository with this number was renamed, transferred, archived, or made public or private, in these words.
    Repository(i64, String),
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
        "pull_request" => pull_request(event, body),
        "issue_comment" => asks::issue_comment(read(event, body)?),
        "check_run" => asks::check_run(read(event, body)?),
        "check_suite" => asks::check_suite(read(event, body)?),
        "repository" => Ok(repository(read(event, body)?)),
        "installation" | "installation_repositories" => Ok(installations(event, read(event, body)?)),
        other => {
            let IgnoredAny = read(event, body)?;
            let reason = if other == "ping" { other.to_owned() } else { format!("{other} events ask for nothing") };
            Ok(ignored(&reason))
        }
    }
}

/// Returns the name of the repository that any payload is about, if it names one.
pub fn repository_name(body: &[u8]) -> Option<RepoName> {
    #[derive(Deserialize)]
    struct Named {
        repository: NamedRepository,
    }
    #[derive(Deserialize)]
    struct NamedRepository {
        full_name: String,
    }
    serde_json::from_slice::<Named>(body).ok()?.repository.full_name.parse().ok()
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

#[derive(Debug, Deserialize)]
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
struct RepositoryEventPayload {
    action: String,
    repository: RepositoryNumber,
}

#[derive(Deserialize)]
struct RepositoryNumber {
    id: i64,
    full_name: String,
}

fn repository(payload: RepositoryEventPayload) -> Event {
    let RepositoryEventPayload { action, repository: RepositoryNumber { id, full_name } } = payload;
    let words = format!("repository {action} for {full_name}, number {id}");
    match action.as_str() {
        "renamed" | "transferred" | "archived" | "unarchived" | "privatized" | "publicized" | "edited" => {
            Event::Repository(id, bounded(pg_text(&words), 300))
        }
        // Nothing can be learned of one that was deleted, and nothing is known of a new one.
        _ => ignored(&words),
    }
}

#[derive(Deserialize)]
struct PushPayload {
    #[serde(rename = "ref")]
    git_ref: String,
    before: String,
    after: String,
    #[serde(default)]
    deleted: bool,
    /// Gitea: `compare_url`.
    #[serde(alias = "compare_url")]
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
    // Gitea has no `deleted`.
    let is_nothing = payload.after.parse::<Sha>().is_ok_and(|after| after.is_zero());
    if payload.deleted || is_nothing {
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
struct Action {
    action: String,
}

#[derive(Deserialize)]
struct PullRequestPayload {
    #[serde(default)]
    changes: Changes,
    pull_request: PullRequestFacts,
    repository: RepositoryPayload,
    sender: Option<Account>,
}

/// Parts of a pull request that an `edited` event changes.
#[derive(Default, Deserialize)]
struct Changes {
    /// Gitea: `ref`.
    #[serde(alias = "ref")]
    base: Option<IgnoredAny>,
}

/// A pull request in a payload, and in a list of GitHub's API.
#[derive(Debug, Deserialize)]
pub(super) struct PullRequestFacts {
    number: i64,
    title: String,
    #[serde(default)]
    draft: bool,
    user: Option<Account>,
    html_url: Option<String>,
    head: PullRequestSide,
    base: PullRequestSide,
}

#[derive(Debug, Deserialize)]
struct PullRequestSide {
    #[serde(rename = "ref")]
    git_ref: String,
    sha: String,
    // Null when the fork was deleted.
    repo: Option<SideRepository>,
}

#[derive(Debug, Deserialize)]
struct SideRepository {
    #[serde(default)]
    id: Option<i64>,
    full_name: String,
}

fn pull_request(event: &str, body: &str) -> anyhow::Result<Event> {
    let Action { action } = read(event, body)?;
    if action == "labeled" {
        return asks::labeled(read(event, body)?);
    }
    let payload: PullRequestPayload = read(event, body)?;
    // Another base makes another merge commit.
    let is_retargeted = action == "edited" && payload.changes.base.is_some();
    // The last one is Gitea's.
    let has_new_head = matches!(action.as_str(), "opened" | "synchronize" | "reopened" | "synchronized");
    if !is_retargeted && !has_new_head {
        return Ok(ignored(&format!("pull request {action}")));
    }
    let repository = payload.repository.into_repository()?;
    let sender = payload.sender.map(|sender| sender.login);
    let trigger = payload.pull_request.into_trigger(repository.name.clone(), sender)?;
    Ok(Event::Build(Box::new(repository), Box::new(trigger)))
}

impl PullRequestFacts {
    /// Returns GitHub's number of the repository that the pull request would be merged into.
    pub(super) fn base_repository(&self) -> Option<i64> {
        self.base.repo.as_ref()?.id
    }

    /// Returns the trigger of a build of the pull request, which would be merged into `repo`.
    pub(super) fn into_trigger(self, repo: RepoName, sender: Option<String>) -> anyhow::Result<Trigger> {
        let head_repo = self.head.repo.map(|repo| repo.full_name.parse()).transpose()?;
        let trigger = Trigger {
            kind: TriggerKind::PullRequest,
            repo,
            branch: Some(self.base.git_ref),
            tag: None,
            sha: self.head.sha.parse()?,
            before: Some(self.base.sha.parse()?),
            message: None,
            author: self.user.map(|user| user.login),
            sender,
            compare_url: self.html_url,
            pull_request: Some(PullRequest {
                number: self.number,
                title: self.title,
                head_branch: self.head.git_ref,
                head_repo,
                draft: self.draft,
            }),
            travis: None,
        };
        Ok(trigger.storable())
    }
}
