//! The sending of messages to chats, at a pace that their robots take.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use chrono::Utc;
use secrecy::ExposeSecret as _;

use super::Notifier;
use super::sender::{SendError, Sender};
use crate::chat::{About, ChatConfig, Refusal};
use crate::domain::AttemptId;
use crate::outbox::ChartForm;
use crate::outgoing::is_host_allowed;
use crate::store::notifications::{self, Charted, Notification};
use crate::travis::notifications::Build;

/// Number of messages that a chat gets within [`WINDOW`]. The robots of DingTalk and WeCom take 20, and DingTalk's takes
/// none for ten minutes after more.
const MAX_MESSAGES: usize = 15;
const WINDOW: Duration = Duration::from_secs(60);

/// All chats, with the times of the last messages to each.
#[derive(Debug, Clone)]
pub struct Chats {
    all: Arc<[ChatConfig]>,
    sender: Sender,
    sent: Arc<Mutex<HashMap<String, VecDeque<Instant>>>>,
}

impl Chats {
    /// Returns the chats of the configuration, which `sender` reaches.
    pub fn new(all: &[ChatConfig], sender: Sender) -> Self {
        Self { all: all.into(), sender, sent: Arc::default() }
    }

    /// Returns the chat of this name.
    pub fn find(&self, name: &str) -> Option<&ChatConfig> {
        self.all.iter().find(|chat| chat.name == name)
    }

    /// Sends a message about a build.
    ///
    /// # Errors
    /// Fails with the reason in words that do not contain the chat's address.
    pub async fn send(&self, chat: &ChatConfig, build: &Build, about: About<'_>) -> Result<(), Refusal> {
        if let Some(wait) = self.must_wait(&chat.name, Instant::now()) {
            return Err(Refusal::Later("the chat has had many messages within a minute".to_owned(), Some(wait)));
        }
        let form = chat.request(build, about, Utc::now());
        let answer =
            self.sender.post_json(form.url.expose_secret(), &form.body).await.map_err(|error| match error {
                SendError::Later(why) => Refusal::Later(why, None),
                SendError::Never(why) => Refusal::Never(why),
            })?;
        chat.read(&answer)
    }

    /// Counts a message, or returns the time until the chat may get it.
    fn must_wait(&self, chat: &str, now: Instant) -> Option<Duration> {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let times = sent.entry(chat.to_owned()).or_default();
        while times.front().is_some_and(|first| now.duration_since(*first) >= WINDOW) {
            times.pop_front();
        }
        match times.front() {
            Some(first) if times.len() >= MAX_MESSAGES => Some(WINDOW - now.duration_since(*first)),
            _ => {
                times.push_back(now);
                None
            }
        }
    }
}

impl Notifier {
    /// Returns the address of the chart of a build's training, if it has one and the servers of chats can fetch it.
    pub(super) async fn chart(&self, note: &Notification) -> anyhow::Result<Option<String>> {
        if !is_host_allowed(&self.public_url, &[]) {
            return Ok(None);
        }
        let charted = notifications::charted(&self.db, note.build_id).await.context("reading a training")?;
        Ok(charted.map(|Charted { job, attempt, ended_at }| {
            let path = self.charts.path(AttemptId { job, number: attempt }, ended_at, ChartForm::Png);
            format!("{}{path}", self.public_url.as_str().trim_end_matches('/'))
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outgoing::SystemNames;

    #[test]
    fn a_chat_gets_no_more_messages_than_its_robot_takes() {
        let chats = Chats::new(&[], Sender::new(&[], Arc::new(SystemNames)).unwrap());
        let now = Instant::now();
        for second in 0..MAX_MESSAGES as u64 {
            assert_eq!(chats.must_wait("team", now + Duration::from_secs(second)), None);
        }
        let wait = chats.must_wait("team", now + Duration::from_secs(20));
        assert_eq!(wait, Some(Duration::from_secs(40)));
        assert_eq!(chats.must_wait("other", now), None, "each chat counts on its own");
        assert_eq!(chats.must_wait("team", now + Duration::from_secs(60)), None);
    }
}
