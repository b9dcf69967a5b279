//! Slack: the rooms that a config names (travis-tasks addons/slack/task.rb).

use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::{Channel, Event};
use crate::domain::BuildState;
use crate::travis::matrix::{self, Config};

/// Maximum number of rooms of a build.
const MAX_ROOMS: usize = 20;
/// Keys that say when a room is told.
const WHEN: [&str; 3] = ["on_success", "on_failure", "on_publish"];

/// The form of a room: an account, a token, and a channel if it is not that of the token.
static FORM: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^([a-zA-Z0-9-]{1,63}):([a-zA-Z0-9_-]{1,200})(?:#([^\s#]{1,100}))?$")
        .unwrap_or_else(|_| unreachable!("a constant that parses"))
});

/// A room.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SlackRoom {
    /// `account:token#channel`: a text, or `{secure: …}`.
    pub room: Json,
    /// The `on_…` keys.
    pub when: Config,
    /// Lines of the message in place of the usual ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub template: Vec<String>,
}

/// The address of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlackAddress {
    /// Address of the hook, which is a secret.
    pub url: String,
    pub channel: Option<String>,
}

impl SlackRoom {
    /// Returns true if the room is told of this event.
    pub fn asks(&self, event: Event, state: BuildState, previous: Option<BuildState>) -> bool {
        Channel::Slack.hears(event) && Channel::Slack.asks(&self.when, event, state, previous)
    }
}

impl SlackAddress {
    /// Reads a room in the clear. Its hook is always one of Slack.
    ///
    /// # Errors
    /// Fails when the text is not a room, in words that do not contain it.
    pub fn of(room: &str) -> Result<Self, &'static str> {
        let parts = FORM.captures(room.trim()).ok_or("the room of Slack is not in the form account:token#channel")?;
        let channel = parts.get(3).map(|channel| match channel.as_str() {
            // A message to a person.
            name if name.starts_with('@') => name.to_owned(),
            name => format!("#{name}"),
        });
        let url = format!("https://{}.slack.com/services/hooks/travis?token={}", &parts[1], &parts[2]);
        Ok(Self { url, channel })
    }
}

/// Returns the rooms that a config in its normal form names. `data` is that of [`matrix::matrix`].
pub(super) fn rooms(config: &Config, data: &Json) -> Vec<SlackRoom> {
    let entries = config.get("notifications").and_then(|all| all.get(Channel::Slack.key())).and_then(Json::as_array);
    let Some(entries) = entries else { return Vec::new() };
    let is_pull = data.get("type").and_then(Json::as_str) == Some("pull_request");
    let facts = matrix::facts_of_build(config, data);
    let mut rooms: Vec<SlackRoom> = Vec::new();
    for entry in entries.iter().take(super::MAX_ENTRIES).filter_map(Json::as_object) {
        let is_off = |key: &str| entry.get(key) == Some(&Json::Bool(false));
        if is_off("enabled") || (is_pull && is_off("on_pull_requests")) || !matrix::holds(entry, &facts) {
            continue;
        }
        let when: Config = WHEN.iter().filter_map(|key| Some(((*key).to_owned(), entry.get(*key)?.clone()))).collect();
        let lines = entry.get("template").and_then(Json::as_array).into_iter().flatten();
        let template: Vec<String> = lines.filter_map(Json::as_str).map(str::to_owned).collect();
        let given = entry.get("rooms").and_then(Json::as_array).into_iter().flatten();
        let given = given.filter(|room| room.is_string() || room.get("secure").is_some_and(Json::is_string));
        for room in given {
            if rooms.iter().all(|earlier| earlier.room != *room) {
                rooms.push(SlackRoom { room: room.clone(), when: when.clone(), template: template.clone() });
            }
        }
    }
    rooms.truncate(MAX_ROOMS);
    rooms
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::travis::normal::{Options, normalize, read};

    fn of(notifications: &str, kind: &str) -> Vec<SlackRoom> {
        let text = format!("language: shell\nscript: x\nnotifications:\n{notifications}");
        let normal = normalize(&read(&text).expect("YAML"), Options::PRODUCTION).expect("a map");
        let config = normal.config.as_object().cloned().unwrap_or_default();
        rooms(&config, &json!({"type": kind, "branch": "main"}))
    }

    #[test]
    fn rooms_are_written_in_each_of_the_forms_of_travis() {
        let room = |text: &str| json!(text);
        for text in ["  slack: acme:tok#ci\n", "  slack: [\"acme:tok#ci\"]\n", "  slack: {rooms: \"acme:tok#ci\"}\n"] {
            let rooms = of(text, "push");
            assert_eq!(rooms.iter().map(|it| it.room.clone()).collect::<Vec<_>>(), [room("acme:tok#ci")], "{text}");
        }
        let secret = of("  slack: {secure: \"abc=\"}\n", "push");
        assert_eq!(secret[0].room["secure"], "abc=");
        let rooms = of(
            "  slack:\n    rooms: [\"acme:tok#ci\", {secure: \"x=\"}, \"acme:tok#ci\"]\n    on_success: never\n    \
             template: [\"%{result}\", \"%{commit}\"]\n",
            "push",
        );
        assert_eq!(
            (rooms.len(), rooms[0].template.as_slice()),
            (2, &["%{result}".to_owned(), "%{commit}".to_owned()][..])
        );
        let (passed, failed) = (BuildState::Passed, BuildState::Failed);
        assert!(!rooms[0].asks(Event::Finished, passed, None) && rooms[0].asks(Event::Finished, failed, None));
        assert!(!rooms[0].asks(Event::Started, BuildState::Running, None));
    }

    #[test]
    fn conditions_and_switches_hold() {
        assert!(of("  slack: {rooms: \"a:b\", if: branch = other}\n", "push").is_empty());
        assert!(of("  slack: {rooms: \"a:b\", enabled: false}\n", "push").is_empty());
        assert_eq!(of("  slack: {rooms: \"a:b\", on_pull_requests: false}\n", "push").len(), 1);
        assert!(of("  slack: {rooms: \"a:b\", on_pull_requests: false}\n", "pull_request").is_empty());
        assert_eq!(of("  slack: {rooms: \"a:b\"}\n", "pull_request").len(), 1);
    }

    #[test]
    fn a_room_leads_to_slack_and_nowhere_else() {
        let address = SlackAddress::of("acme:t0_k-en#ci").unwrap();
        assert_eq!(address.url, "https://acme.slack.com/services/hooks/travis?token=t0_k-en");
        assert_eq!(address.channel.as_deref(), Some("#ci"));
        assert_eq!(SlackAddress::of("acme:tok#@ada").unwrap().channel.as_deref(), Some("@ada"));
        assert_eq!(SlackAddress::of("acme:tok").unwrap().channel, None);
        for hostile in [
            "",
            "acme",
            "acme:",
            ":tok",
            "evil.example/x:tok",
            "a@evil.example:tok",
            "evil.example#:tok",
            "acme:tok&x=1",
            "acme:tok/../x",
            "acme:tok#a b",
            "https://hooks.slack.com/services/T/B/x",
        ] {
            assert!(SlackAddress::of(hostile).is_err(), "{hostile:?}");
        }
    }
}
