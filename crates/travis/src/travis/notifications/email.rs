//! Emails: the recipients that a config names.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::{Channel, Event};
use crate::domain::BuildState;
use crate::travis::matrix::{self, Config};

/// Maximum number of recipients of a build.
const MAX_RECIPIENTS: usize = 20;
/// Keys that say when a recipient is told.
const WHEN: [&str; 4] = ["on_success", "on_failure", "on_cancel", "on_publish"];

/// A recipient of emails.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recipient {
    /// The address: a text, or `{secure: …}`.
    pub email: Json,
    /// The `on_…` keys.
    pub when: Config,
}

impl Recipient {
    /// Returns true if the recipient is told of this event.
    pub fn asks(&self, event: Event, state: BuildState, previous: Option<BuildState>) -> bool {
        Channel::Email.hears(event) && Channel::Email.asks(&self.when, event, state, previous)
    }
}

/// Returns the recipients that a config in its normal form names. Builds of pull requests send no emails. `data` is that
/// of [`matrix::matrix`].
pub(super) fn recipients(config: &Config, data: &Json) -> Vec<Recipient> {
    if data.get("type").and_then(Json::as_str) == Some("pull_request") {
        return Vec::new();
    }
    let entries = config.get("notifications").and_then(|all| all.get(Channel::Email.key())).and_then(Json::as_array);
    let Some(entries) = entries else { return Vec::new() };
    let facts = matrix::facts_of_build(config, data);
    let mut recipients: Vec<Recipient> = Vec::new();
    for entry in entries.iter().take(super::MAX_ENTRIES).filter_map(Json::as_object) {
        if entry.get("enabled") == Some(&Json::Bool(false)) || !matrix::holds(entry, &facts) {
            continue;
        }
        let when: Config = WHEN.iter().filter_map(|key| Some(((*key).to_owned(), entry.get(*key)?.clone()))).collect();
        let emails = entry.get("recipients").and_then(Json::as_array).into_iter().flatten();
        let emails = emails.filter(|email| email.is_string() || email.get("secure").is_some_and(Json::is_string));
        for email in emails {
            if recipients.iter().all(|earlier| earlier.email != *email) {
                recipients.push(Recipient { email: email.clone(), when: when.clone() });
            }
        }
    }
    recipients.truncate(MAX_RECIPIENTS);
    recipients
}
