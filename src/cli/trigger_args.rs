//! The trigger of a build, as options of a command.

use clap::ValueEnum;

use crate::domain::{RepoName, Sha, Trigger, TriggerKind};

#[derive(Debug, Default, clap::Args)]
pub(super) struct TriggerArgs {
    /// The kind of trigger: with --tag a tag, otherwise a push, unless this option names another.
    #[arg(long, value_enum)]
    event: Option<Event>,
    /// The branch. For a pull request, its base branch.
    #[arg(long)]
    branch: Option<String>,
    /// The tag.
    #[arg(long)]
    tag: Option<String>,
    /// The head commit's message, in which skip words and conditions are looked up.
    #[arg(long)]
    message: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Event {
    Push,
    PullRequest,
    Tag,
    Cron,
    Api,
}

impl From<Event> for TriggerKind {
    fn from(event: Event) -> Self {
        match event {
            Event::Push => Self::Push,
            Event::PullRequest => Self::PullRequest,
            Event::Tag => Self::Tag,
            Event::Cron => Self::Cron,
            Event::Api => Self::Api,
        }
    }
}

/// Facts that are known without the options.
#[derive(Debug)]
pub(super) struct CheckedOut {
    pub(super) repo: RepoName,
    pub(super) sha: Sha,
    /// Name of the branch that is checked out.
    pub(super) branch: Option<String>,
    pub(super) message: String,
}

impl CheckedOut {
    /// Returns a placeholder: a repository `name` and a commit that do not exist.
    pub(super) fn nothing(name: &str) -> anyhow::Result<Self> {
        let repo = format!("local/{name}").parse().or_else(|_| "local/repository".parse())?;
        let sha = "0000000000000000000000000000000000000000".parse()?;
        Ok(Self { repo, sha, branch: None, message: String::new() })
    }
}

impl TriggerArgs {
    /// Returns the trigger that the options describe.
    pub(super) fn trigger(&self, known: &CheckedOut) -> Trigger {
        let usual = if self.tag.is_some() { Event::Tag } else { Event::Push };
        let kind = TriggerKind::from(self.event.unwrap_or(usual));
        // The checked-out branch is a pull request's head.
        let checked_out = known.branch.as_ref().filter(|_| kind != TriggerKind::PullRequest);
        let branch = self.branch.as_ref().or(checked_out).map_or("main", String::as_str);
        Trigger {
            kind,
            branch: (kind != TriggerKind::Tag).then(|| branch.to_owned()),
            tag: self.tag.clone(),
            message: Some(self.message.clone().unwrap_or_else(|| known.message.clone())),
            ..Trigger::push(known.repo.clone(), branch, known.sha.clone())
        }
    }
}
