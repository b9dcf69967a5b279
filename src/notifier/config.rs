//! `[notifications]` of the configuration.

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use crate::chat::ChatConfig;
use crate::executor::IpNetwork;
use crate::hooks::{HookConfig, Receivers};
use crate::mail::EmailConfig;

/// `[notifications]` of the configuration.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NotificationsConfig {
    /// Networks that receivers may be in, next to the internet.
    pub allow: Vec<IpNetwork>,
    /// Chats of the operator.
    pub chat: Vec<ChatConfig>,
    /// Programs of the operator that get signed webhooks.
    pub webhook: Vec<HookConfig>,
    /// Mail server.
    pub email: Option<EmailConfig>,
}

impl NotificationsConfig {
    /// Returns the receivers of the operator.
    pub fn receivers(&self) -> Receivers {
        Receivers { chats: self.chat.clone(), hooks: self.webhook.clone() }
    }

    /// Rejects receivers that nothing can reach.
    ///
    /// # Errors
    /// Fails with what is wrong, and what to do.
    pub fn check(&self) -> anyhow::Result<()> {
        for (place, chat) in self.chat.iter().enumerate() {
            chat.check().with_context(|| format!("notifications.chat {:?}", chat.name))?;
            let twice = self.chat[..place].iter().any(|earlier| earlier.name == chat.name);
            ensure!(!twice, "two chats are named {:?}; names must differ", chat.name);
        }
        for (place, hook) in self.webhook.iter().enumerate() {
            hook.check().with_context(|| format!("notifications.webhook {:?}", hook.name))?;
            let twice = self.webhook[..place].iter().any(|earlier| earlier.name == hook.name);
            ensure!(!twice, "two webhooks are named {:?}; names must differ", hook.name);
        }
        match &self.email {
            Some(email) => email.check().context("notifications.email"),
            None => Ok(()),
        }
    }
}
