//! Who is told of a build, when, and in which words (travis-hub config/notify.rb, travis-tasks).
//!
//! Nothing is sent from here: [`due`] says which entries of `notifications` are to be delivered, and what there is to
//! say comes from [`Message`] and [`render`].

mod message;

use serde_json::Value as Json;

use super::matrix::{self, Config};
use crate::domain::BuildState;

pub use message::{Build, Message, default_template, render};

/// A way to tell people.
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

/// What happened to a build. A build that could not do its work has finished, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// Its first job started.
    Started,
    /// All its jobs ended.
    Finished,
    /// Somebody, or a newer build, canceled it.
    Canceled,
    /// It never came to jobs.
    Errored,
}

/// A moment in the life of a build.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Occasion<'a> {
    /// What happened.
    pub event: Event,
    /// The state that the build is in now.
    pub state: BuildState,
    /// How the last finished build of the branch before this one ended.
    pub previous: Option<BuildState>,
    /// Whether it is the build of a pull request.
    pub pull_request: bool,
    /// Whether a newer build canceled it.
    pub auto_canceled: bool,
    /// What conditions ask for: the data of [`matrix::matrix`].
    pub data: &'a Json,
}

/// An entry of `notifications` that is to be delivered.
#[derive(Debug, Clone, PartialEq)]
pub struct Notification {
    /// By which way.
    pub channel: Channel,
    /// The entry in its normal form, with recipients, rooms or addresses. An email without recipients goes to the
    /// commit's author and committer.
    pub entry: Config,
}

/// How often an event of one kind is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Frequency {
    Always,
    Never,
    Change,
}

impl Channel {
    /// All ways, in the order of their keys.
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

    /// The key under `notifications`.
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

    /// Whether the channel gets such events at all.
    pub fn hears(self, event: Event) -> bool {
        match self {
            Self::Webhooks => true,
            Self::Email => matches!(event, Event::Finished | Event::Canceled),
            _ => event == Event::Finished,
        }
    }

    /// Whether an entry of the channel asks to be told of this, by its `on_…` keys alone.
    pub fn asks(self, entry: &Config, event: Event, state: BuildState, previous: Option<BuildState>) -> bool {
        let passed = event == Event::Finished && state == BuildState::Passed;
        let (key, default) = match event {
            Event::Started => ("on_start", Frequency::Never),
            Event::Canceled => ("on_cancel", Frequency::Always),
            Event::Errored => ("on_error", Frequency::Always),
            Event::Finished if passed && self == Self::Email => ("on_success", Frequency::Change),
            Event::Finished if passed => ("on_success", Frequency::Always),
            Event::Finished => ("on_failure", Frequency::Always),
        };
        match entry.get(key).and_then(Json::as_str).and_then(Frequency::of).unwrap_or(default) {
            Frequency::Always => true,
            Frequency::Never => false,
            Frequency::Change if passed => previous != Some(BuildState::Passed),
            Frequency::Change => matches!(previous, None | Some(BuildState::Passed)),
        }
    }

    /// Whether an entry is delivered at this occasion, its condition apart.
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

/// The most entries of one channel.
const MAX_ENTRIES: usize = 50;

/// What is to be delivered at an occasion, by the build's config in its normal form. People get emails also when the
/// config does not say so.
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
