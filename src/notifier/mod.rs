//! The step from a notification to its receiver: webhooks in the form of Travis CI, and with its signature; and messages
//! to the chats of the operator.

mod addresses;
mod chats;
mod payload;
mod sender;

use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize;
use sqlx::PgPool;
use tracing::{info, warn};
use url::Url;

pub use self::chats::Chats;
pub use self::sender::{Message, SendError, Sender, SystemNames};
use crate::chat::{ChatConfig, Refusal, Words};
use crate::executor::IpNetwork;
use crate::store::alerts;
use crate::store::notifications::{self, Notification, Target};
use crate::store::sealed::own_keys::NotificationKey;
use crate::store::sealed::repo_keys::RepoKeys;
use crate::travis::notifications::{Event, Receiver};
use crate::travis_ci::signature::SigningKey;

/// Time for which a step has a notification to itself. It is longer than a request may take.
const HOLD: Duration = Duration::from_secs(60);
/// Pause after the first failure. It doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
/// Age up to which a message waits for a chat that asks to wait, and the longest wait.
pub const PATIENCE: Duration = Duration::from_secs(3600);
/// Number of tries. The last one is five minutes after the first.
const TRIES: i32 = 6;

/// `[notifications]` of the configuration.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NotificationsConfig {
    /// Networks that receivers may be in, next to the internet.
    pub allow: Vec<IpNetwork>,
    /// Chats of the operator.
    pub chat: Vec<ChatConfig>,
}

/// Sender of notifications. Several steps may run at once: each of them holds another notification.
#[derive(Debug, Clone)]
pub struct Notifier {
    pub db: PgPool,
    /// Keys for receivers that are secrets.
    pub keys: RepoKeys,
    /// Key that signs.
    pub key: NotificationKey,
    pub sender: Sender,
    pub chats: Chats,
    /// Address under which people reach the service.
    pub public_url: Url,
}

impl Notifier {
    /// Tries the next due notification once. Returns false if none is due. A receiver's failure is not an error of this
    /// step: it is recorded with the notification.
    ///
    /// # Errors
    /// Fails when Postgres does not answer.
    pub async fn step(&self) -> anyhow::Result<bool> {
        let Some(note) = notifications::take(&self.db, HOLD).await.context("reading the notifications")? else {
            return Ok(false);
        };
        let receiver = match &note.receiver.0 {
            Target::Chat { chat } => return self.tell_chat(&note, chat).await,
            Target::Webhook(receiver) => receiver,
        };
        let is_asked = event(&note.event).is_some_and(|event| receiver.asks(event, note.state, note.previous));
        if !is_asked {
            notifications::remove(&self.db, note.id).await?;
            return Ok(true);
        }
        let sent = self.deliver(&note, receiver).await.unwrap_or_else(|error| {
            warn!("a notification of build {} cannot be made: {error:#}", note.build_id.0);
            Err(SendError::Later("it cannot be made; the server's log has the error".to_owned()))
        });
        match sent {
            Ok(status) => {
                info!("a receiver of build {} was told that it is {}", note.build_id.0, note.event);
                notifications::done(&self.db, note.id, &format!("sent: it answered {status}")).await?;
            }
            Err(SendError::Later(why)) if note.tries < TRIES => {
                notifications::later(&self.db, note.id, pause_after(note.tries), &format!("not sent yet: {why}"))
                    .await?;
            }
            Err(SendError::Later(why) | SendError::Never(why)) => {
                warn!("a receiver of build {} was not told that it is {}: {why}", note.build_id.0, note.event);
                notifications::done(&self.db, note.id, &format!("not sent: {why}")).await?;
            }
        }
        Ok(true)
    }

    /// Sends a message to a chat. What it has refused for good is an alert: the operator has to mend it.
    async fn tell_chat(&self, note: &Notification, name: &str) -> anyhow::Result<bool> {
        let Some(chat) = self.chats.find(name) else {
            notifications::done(&self.db, note.id, "not sent: the chat is not in the configuration any more").await?;
            return Ok(true);
        };
        if !event(&note.event).is_some_and(|event| chat.asks(event, note.state, note.previous)) {
            notifications::remove(&self.db, note.id).await?;
            return Ok(true);
        }
        let (facts, jobs) = notifications::facts(&self.db, note.build_id).await.context("reading a build")?;
        let status = notifications::status(&self.db, note.build_id).await.context("reading a status")?;
        let title = facts.pull_request_title.clone();
        let build = payload::chat_build(note, facts, &jobs, &self.public_url);
        let words = Words { pull_request: title.as_deref(), status: status.as_deref() };
        let component = format!("chat {name}");
        match self.chats.send(chat, &build, words).await {
            Ok(()) => {
                info!("the chat {name} was told that build {} is {}", note.build_id.0, note.event);
                notifications::done(&self.db, note.id, "sent").await?;
                alerts::set(&self.db, &component, None).await?;
            }
            Err(Refusal::Later(why, wait)) if wait.is_some() && note.is_younger_than(PATIENCE) => {
                let pause = wait.unwrap_or(FIRST_PAUSE);
                notifications::wait(&self.db, note.id, pause, &format!("not sent yet: {why}")).await?;
            }
            Err(Refusal::Later(why, _)) if note.tries < TRIES => {
                notifications::later(&self.db, note.id, pause_after(note.tries), &format!("not sent yet: {why}"))
                    .await?;
            }
            Err(Refusal::Later(why, _)) => {
                warn!("the chat {name} was not told of build {}: {why}", note.build_id.0);
                notifications::done(&self.db, note.id, &format!("not sent: {why}")).await?;
            }
            Err(Refusal::Never(why)) => {
                warn!("the chat {name} was not told of build {}: {why}", note.build_id.0);
                notifications::done(&self.db, note.id, &format!("not sent: {why}")).await?;
                alerts::set(&self.db, &component, Some(&format!("it takes no messages: {why}"))).await?;
            }
        }
        Ok(true)
    }

    async fn deliver(&self, note: &Notification, receiver: &Receiver) -> anyhow::Result<Result<u16, SendError>> {
        let url = match self.address(note, receiver).await? {
            Ok(url) => url,
            Err(why) => return Ok(Err(SendError::Never(why.to_owned()))),
        };
        let (facts, jobs) = notifications::facts(&self.db, note.build_id).await.context("reading a build")?;
        let repo = format!("{}/{}", facts.owner, facts.name);
        let payload = payload::build(note, facts, jobs, &self.public_url).payload().to_string();
        let key = self.key.private().await?;
        // This takes milliseconds, in which the thread must not wait for others.
        let sign = move || -> anyhow::Result<(String, String)> {
            let key = SigningKey::from_pkcs8(&key.to_pkcs8()?).context("the key of notifications")?;
            let signature = key.sign(payload.as_bytes())?;
            let form = url::form_urlencoded::Serializer::new(String::new()).append_pair("payload", &payload).finish();
            Ok((signature, form))
        };
        let (signature, body) = tokio::task::spawn_blocking(sign).await.context("signing a notification")??;
        Ok(self.sender.send(&url, Message { repo: &repo, body: &body, signature: &signature }).await)
    }

    /// Returns the receiver's address in the clear, or the reason why there is none.
    async fn address(&self, note: &Notification, receiver: &Receiver) -> anyhow::Result<Result<String, &'static str>> {
        const NOT_OURS: &str = "the address was not encrypted with this repository's key";
        let clear = match (receiver.url.as_str(), receiver.url["secure"].as_str()) {
            (Some(text), _) => text.to_owned(),
            (None, Some(cipher)) => {
                let Some(key) = self.keys.private(note.repo_id).await? else { return Ok(Err(NOT_OURS)) };
                let cipher = cipher.to_owned();
                let decrypt = tokio::task::spawn_blocking(move || key.decrypt(&cipher));
                match decrypt.await.context("decrypting a receiver")? {
                    Ok(clear) => clear,
                    Err(_) => return Ok(Err(NOT_OURS)),
                }
            }
            (None, None) => return Ok(Err("there is no address")),
        };
        // A `.travis.yml` for Travis names this service, so that Travis tells it of its builds.
        let is_here = Url::parse(&clear).is_ok_and(|url| url.origin() == self.public_url.origin());
        Ok(if is_here { Err("this service tells itself nothing") } else { Ok(clear) })
    }
}

/// Returns the pause after this number of tries.
fn pause_after(tries: i32) -> Duration {
    FIRST_PAUSE * 2_u32.pow(tries.unsigned_abs().saturating_sub(1).min(16))
}

fn event(word: &str) -> Option<Event> {
    Some(match word {
        "started" => Event::Started,
        "finished" => Event::Finished,
        "canceled" => Event::Canceled,
        "errored" => Event::Errored,
        _ => return None,
    })
}
