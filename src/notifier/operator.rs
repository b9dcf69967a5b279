//! Messages to the chats and the programs of the operator.

use anyhow::Context as _;
use tracing::{info, warn};

use super::publications::in_json;
use super::{FIRST_PAUSE, Notifier, PATIENCE, TRIES, about, event, hooks, pause_after, payload};
use crate::chat::{ChatConfig, Publications, Refusal, Words};
use crate::hooks::{HookConfig, NAME_PREFIX};
use crate::store::alerts;
use crate::store::notifications::{self, Notification};

/// A receiver of the operator.
#[derive(Debug, Clone, Copy)]
enum OperatorReceiver<'a> {
    Chat(&'a ChatConfig),
    Hook(&'a HookConfig),
}

impl Notifier {
    /// Tells a receiver of the operator, by its name.
    pub(super) async fn tell_receiver(
        &self,
        note: &Notification,
        name: &str,
        publications: Option<&Publications>,
    ) -> anyhow::Result<bool> {
        let hook = name.strip_prefix(NAME_PREFIX);
        let who = hook.map_or_else(|| format!("chat {name}"), |hook| format!("webhook {hook}"));
        let receiver = match hook {
            Some(hook) => self.hooks.iter().find(|known| known.name == hook).map(OperatorReceiver::Hook),
            None => self.chats.find(name).map(OperatorReceiver::Chat),
        };
        let Some(receiver) = receiver else {
            let outcome = format!("not sent: the {who} is not in the configuration any more");
            notifications::done(&self.db, note.id, &outcome).await?;
            return Ok(true);
        };
        let is_asked = event(&note.event).is_some_and(|event| match receiver {
            OperatorReceiver::Chat(chat) => chat.asks(event, note.state, note.previous),
            OperatorReceiver::Hook(hook) => hook.asks(event, note.state, note.previous),
        });
        if !is_asked {
            notifications::remove(&self.db, note.id).await?;
            return Ok(true);
        }
        let (facts, jobs) = notifications::facts(&self.db, note.build_id).await.context("reading a build")?;
        let status = notifications::status(&self.db, note.build_id).await.context("reading a status")?;
        let sent = match receiver {
            OperatorReceiver::Chat(chat) => {
                let title = facts.pull_request_title.clone();
                let build = payload::chat_build(note, facts, &jobs, &self.public_url);
                let chart = self.chart(note).await?;
                let words =
                    Words { pull_request: title.as_deref(), status: status.as_deref(), chart: chart.as_deref() };
                self.chats.send(chat, &build, about(publications, words)).await
            }
            OperatorReceiver::Hook(hook) => {
                let mut event = hooks::event(note, &facts, &jobs, status.as_deref(), &self.public_url);
                if let Some(publications) = publications {
                    event["data"]["publication"] = in_json(note, facts.number, publications);
                }
                self.sender.post_signed(hook, format!("notification-{}", note.id), &event).await
            }
        };
        self.record(note, &who, sent).await?;
        Ok(true)
    }

    /// Records what became of a message to a receiver of the operator. What it has refused for good is an alert: the
    /// operator has to mend it.
    pub(super) async fn record(&self, note: &Notification, who: &str, sent: Result<(), Refusal>) -> anyhow::Result<()> {
        self.settle(note, who, &sent).await?;
        match sent {
            Ok(()) => {
                alerts::set(&self.db, who, None).await?;
            }
            Err(Refusal::Never(why)) => {
                alerts::set(&self.db, who, Some(&format!("it takes no messages: {why}"))).await?;
            }
            Err(Refusal::Later(..)) => {}
        }
        Ok(())
    }

    /// Records what became of a message: it is sent, it is tried again, or it is given up.
    pub(super) async fn settle(
        &self,
        note: &Notification,
        who: &str,
        sent: &Result<(), Refusal>,
    ) -> anyhow::Result<()> {
        match sent {
            Ok(()) => {
                info!("the {who} was told of build {}: {}", note.build_id.0, note.event);
                notifications::done(&self.db, note.id, "sent").await?;
            }
            Err(Refusal::Later(why, wait)) if wait.is_some() && note.is_younger_than(PATIENCE) => {
                let pause = wait.unwrap_or(FIRST_PAUSE);
                notifications::wait(&self.db, note.id, pause, &format!("not sent yet: {why}")).await?;
            }
            Err(Refusal::Later(why, _)) if note.tries < TRIES => {
                notifications::later(&self.db, note.id, pause_after(note.tries), &format!("not sent yet: {why}"))
                    .await?;
            }
            Err(Refusal::Later(why, _) | Refusal::Never(why)) => {
                warn!("the {who} was not told of build {}: {why}", note.build_id.0);
                notifications::done(&self.db, note.id, &format!("not sent: {why}")).await?;
            }
        }
        Ok(())
    }
}
