//! Notifications about a build: their recipients, occasions and texts (travis-hub config/notify.rb, travis-tasks).
//!
//! Nothing is sent from here. [`due`] returns the entries of `notifications` to deliver, and [`Message`] and [`render`]
//! provide the texts. [`webhooks`] returns the receivers of webhooks, and [`WebhookBuild`] makes their payload.

mod email;
mod message;
mod slack;
mod webhook;

use serde_json::Value as Json;

use super::matrix::{self, Config};
use crate::domain::BuildState;

pub use email::Recipient;
pub use message::{Build, Message, build_word, default_template, event_type, job_word, render};
pub use slack::{SlackAddress, SlackRoom};
pub use webhook::{Receiver, WebhookBuild, WebhookJob, WebhookRepository, Webhooks, shown, webhooks};

/// A way to notify people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channel {
    /// The key `campfire`.
    Campfire,
    /// The key `email`.
    Email,
    /// The key `flowdock`.
    Flowdock,
    /// The key `hipchat`.
    Hipchat,
    /// The key `irc`.
    Irc,
    /// The key `pushover`.
    Pushover,
    /// The key `slack`.
    Slack,
    /// The key `webhooks`.
    Webhooks,
}

/// An event in the life of a build. A build that could not do its work has finished, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// The first job started.
    Started,
    /// All jobs ended.
    Finished,
    /// A person, or a newer build, canceled the build.
    Canceled,
    /// The build ended before it had jobs.
    Errored,
    /// Weights of a job wait for the approval of a person. Travis knows neither this event nor the next three.
    Approval,
    /// The weights of a job are at all their places.
    Published,
    /// The weights of a job did not get to all their places, and are not tried again.
    PublishFailed,
    /// A person has rejected the weights of a job.
    Rejected,
}

impl Event {
    /// Returns true for an event of publications, and not of the build.
    pub fn is_of_publications(self) -> bool {
        matches!(self, Self::Approval | Self::Published | Self::PublishFailed | Self::Rejected)
    }
}

/// A moment in the life of a build.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Occasion<'a> {
    pub event: Event,
    /// Current state of the build.
    pub state: BuildState,
    /// State of the last finished build of the branch before this one.
    pub previous: Option<BuildState>,
    /// True when it is the build of a pull request.
    pub pull_request: bool,
    /// True when a newer build canceled it.
    pub auto_canceled: bool,
    /// Data that conditions ask for: the data of [`matrix::matrix`].
    pub data: &'a Json,
}

/// An entry of `notifications` to deliver.
#[derive(Debug, Clone, PartialEq)]
pub struct Notification {
    pub channel: Channel,
    /// The entry in its normal form, with recipients, rooms or addresses. An email without recipients goes to the
    /// commit's author and committer.
    pub entry: Config,
}

/// Frequency of notifications for events of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Frequency {
    Always,
    Never,
    Change,
}

impl Channel {
    /// All channels, in the order of their keys.
    pub const ALL: [Self; 8] = [
        Self::Campfire,
        Self::Email,
        Self::Flowdock,
        Self::Hipchat,
        Self::Irc,
        Self::Pushover,
        Self::Slack,
        Self::Webhooks,
    ];

    /// Returns the key under `notifications`.
    pub fn key(self) -> &'static str {
        match self {
            Self::Campfire => "campfire",
            Self::Email => "email",
            Self::Flowdock => "flowdock",
            Self::Hipchat => "hipchat",
            Self::Irc => "irc",
            Self::Pushover => "pushover",
            Self::Slack => "slack",
            Self::Webhooks => "webhooks",
        }
    }

    /// Returns true if the channel gets such events at all.
    pub fn hears(self, event: Event) -> bool {
        match self {
            Self::Webhooks => true,
            Self::Email => event == Event::Canceled || event == Event::Finished || event.is_of_publications(),
            _ => event == Event::Finished || event.is_of_publications(),
        }
    }

    /// Returns true if an entry of the channel asks for this event, by its `on_…` keys alone.
    pub fn asks(self, entry: &Config, event: Event, state: BuildState, previous: Option<BuildState>) -> bool {
        let passed = event == Event::Finished && state == BuildState::Passed;
        let (key, default) = match event {
            Event::Started => ("on_start", Frequency::Never),
            Event::Canceled => ("on_cancel", Frequency::Always),
            Event::Errored => ("on_error", Frequency::Always),
            Event::Finished if passed && self == Self::Email => ("on_success", Frequency::Change),
            Event::Finished if passed => ("on_success", Frequency::Always),
            Event::Finished => ("on_failure", Frequency::Always),
            Event::Approval | Event::Published | Event::PublishFailed | Event::Rejected => {
                return self.asks_of_publications(entry, event);
            }
        };
        match entry.get(key).and_then(Json::as_str).and_then(Frequency::of).unwrap_or(default) {
            Frequency::Always => true,
            Frequency::Never => false,
            Frequency::Change if passed => previous != Some(BuildState::Passed),
            Frequency::Change => matches!(previous, None | Some(BuildState::Passed)),
        }
    }

    /// Returns true if an entry asks for this event of publications. Each is one of its own, so `change` tells it, too.
    /// Receivers of webhooks were written for Travis, and would take it for another end of the build, so they are not told
    /// unless they ask for it.
    fn asks_of_publications(self, entry: &Config, event: Event) -> bool {
        let word = |key: &str| entry.get(key).and_then(Json::as_str);
        match (word("on_publish"), event) {
            (Some("always"), _) => true,
            (Some("never"), _) => false,
            _ if self == Self::Webhooks => false,
            (_, Event::Published) => word("on_success") != Some("never"),
            (_, Event::PublishFailed | Event::Rejected) => word("on_failure") != Some("never"),
            _ => true,
        }
    }

    /// Returns true if an entry is delivered at this occasion, apart from its condition.
    fn wants(self, entry: &Config, occasion: &Occasion<'_>) -> bool {
        let is_off = |key: &str| entry.get(key) == Some(&Json::Bool(false));
        let silent = match self {
            Self::Email => occasion.pull_request || occasion.auto_canceled,
            _ => occasion.pull_request && is_off("on_pull_requests"),
        };
        !silent
            && !is_off("enabled")
            && self.hears(occasion.event)
            && self.asks(entry, occasion.event, occasion.state, occasion.previous)
    }
}

impl Frequency {
    fn of(word: &str) -> Option<Self> {
        match word {
            "always" => Some(Self::Always),
            "never" => Some(Self::Never),
            "change" => Some(Self::Change),
            _ => None,
        }
    }
}

/// Maximum number of entries of one channel.
const MAX_ENTRIES: usize = 50;

/// Returns the notifications to deliver at an occasion, by the build's config in its normal form. Emails are sent even
/// when the config does not ask for them.
pub fn due(config: &Config, occasion: &Occasion<'_>) -> Vec<Notification> {
    let facts = matrix::facts_of_build(config, occasion.data);
    let mut due = Vec::new();
    for channel in Channel::ALL {
        let given = config.get("notifications").and_then(|all| all.get(channel.key())).and_then(Json::as_array);
        let entries: Vec<Config> = match given {
            Some(entries) => entries.iter().filter_map(Json::as_object).take(MAX_ENTRIES).cloned().collect(),
            None if channel == Channel::Email => vec![Config::new()],
            None => Vec::new(),
        };
        let wanted = entries.into_iter().filter(|entry| channel.wants(entry, occasion));
        let wanted = wanted.filter(|entry| matrix::holds(entry, &facts));
        due.extend(wanted.map(|entry| Notification { channel, entry }));
    }
    due
}

#[cfg(test)]
mod tests;
