//! The sending of notifications.

use std::sync::Arc;

use sqlx::PgPool;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::endless;
use super::loops::notifier_loop;
use crate::config::Config;
use crate::mail::Mailer;
use crate::notifier::{Chats, Notifier, Sender};
use crate::outbox::ChartLinks;
use crate::outgoing::SystemNames;
use crate::repo_keys::Seal;
use crate::store::sealed::own_keys::{NotificationKey, ProvenanceKey};
use crate::store::sealed::repo_keys::RepoKeys;
use crate::store::sealed::variables::Variables;

/// Number of webhooks that are sent at once: each waits for a receiver.
const SENDERS: usize = 4;

/// Everything of this installation that is stored under its seal or signed with it, apart from the secrets of webhooks.
#[derive(Debug, Clone)]
pub(super) struct Keyring {
    pub(super) repos: RepoKeys,
    pub(super) notifications: NotificationKey,
    pub(super) provenance: ProvenanceKey,
    pub(super) variables: Variables,
    pub(super) charts: ChartLinks,
}

impl Keyring {
    pub(super) fn new(db: &PgPool, seal: &Arc<Seal>) -> Self {
        Self {
            repos: RepoKeys::new(db.clone(), Arc::clone(seal)),
            notifications: NotificationKey::new(db.clone(), Arc::clone(seal)),
            provenance: ProvenanceKey::new(db.clone(), Arc::clone(seal)),
            variables: Variables::new(db.clone(), Arc::clone(seal)),
            charts: ChartLinks::new(Arc::clone(seal)),
        }
    }
}

/// Sends notifications until `shutdown`.
pub(super) fn notify(
    tasks: &mut JoinSet<anyhow::Result<()>>,
    config: &Config,
    db: &PgPool,
    keys: Keyring,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let sender = Sender::new(&config.notifications.allow, Arc::new(SystemNames))?;
    let notifier = Notifier {
        db: db.clone(),
        keys: keys.repos,
        key: keys.notifications,
        chats: Chats::new(&config.notifications.chat, sender.clone()),
        sender,
        hooks: config.notifications.webhook.clone().into(),
        mailer: config.notifications.email.as_ref().map(Mailer::new).transpose()?,
        publish: config.publish.clone(),
        charts: keys.charts,
        public_url: config.server.public_url.clone(),
    };
    for _ in 0..SENDERS {
        tasks.spawn(endless(notifier_loop(notifier.clone(), shutdown.clone())));
    }
    Ok(())
}
