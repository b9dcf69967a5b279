//! The step from a notification to its receiver: webhooks in the form of Travis CI, and with its signature; emails; messages
//! to rooms of Slack; and messages to the chats and the programs of the operator. A notification tells of a build, or of the
//! publications of one of its jobs.

mod chats;
mod config;
mod emails;
mod hooks;
mod operator;
mod payload;
mod publications;
mod rooms;
mod sender;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value as Json;
use sqlx::PgPool;
use tracing::{info, warn};
use url::Url;

pub use self::chats::Chats;
pub use self::config::NotificationsConfig;
pub use self::sender::{Message, SendError, Sender};
use crate::chat::{About, Publications, Words};
use crate::hooks::HookConfig;
use crate::mail::Mailer;
use crate::outbox::ChartLinks;
use crate::permits::PublishConfig;
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
    /// Programs of the operator.
    pub hooks: Arc<[HookConfig]>,
    /// Way to the mail server, if there is one.
    pub mailer: Option<Mailer>,
    /// The people who approve publications.
    pub publish: PublishConfig,
    pub charts: ChartLinks,
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
        let publications = match note.job_id {
            Some(job) => match self.publications(&note, job).await? {
                Some(publications) => Some(publications),
                None => {
                    notifications::remove(&self.db, note.id).await?;
                    return Ok(true);
                }
            },
            None => None,
        };
        let publications = publications.as_ref();
        let receiver = match &note.receiver.0 {
            Target::Operator { chat } => return self.tell_receiver(&note, chat, publications).await,
            Target::Email(recipient) => return self.mail(&note, recipient, publications).await,
            Target::Slack(room) => return self.tell_room(&note, room, publications).await,
            Target::Webhook(receiver) => receiver,
        };
        let is_asked = event(&note.event).is_some_and(|event| receiver.asks(event, note.state, note.previous));
        if !is_asked {
            notifications::remove(&self.db, note.id).await?;
            return Ok(true);
        }
        let sent = self.deliver(&note, receiver, publications).await.unwrap_or_else(|error| {
            warn!("a notification of build {} cannot be made: {error:#}", note.build_id.0);
            Err(SendError::Later("it cannot be made; the server's log has the error".to_owned()))
        });
        match sent {
            Ok(status) => {
                info!("a receiver of build {} was told of the event {}", note.build_id.0, note.event);
                notifications::done(&self.db, note.id, &format!("sent: it answered {status}")).await?;
            }
            Err(SendError::Later(why)) if note.tries < TRIES => {
                notifications::later(&self.db, note.id, pause_after(note.tries), &format!("not sent yet: {why}"))
                    .await?;
            }
            Err(SendError::Later(why) | SendError::Never(why)) => {
                warn!("a receiver of build {} was not told of the event {}: {why}", note.build_id.0, note.event);
                notifications::done(&self.db, note.id, &format!("not sent: {why}")).await?;
            }
        }
        Ok(true)
    }

    async fn deliver(
        &self,
        note: &Notification,
        receiver: &Receiver,
        publications: Option<&Publications>,
    ) -> anyhow::Result<Result<u16, SendError>> {
        let url = match self.address(note, receiver).await? {
            Ok(url) => url,
            Err(why) => return Ok(Err(SendError::Never(why.to_owned()))),
        };
        let (facts, jobs) = notifications::facts(&self.db, note.build_id).await.context("reading a build")?;
        let repo = format!("{}/{}", facts.owner, facts.name);
        let build = facts.number;
        let mut payload = payload::build(note, facts, jobs, &self.public_url).payload();
        if let Some(publications) = publications {
            payload["publication"] = publications::in_json(note, build, publications);
        }
        let payload = payload.to_string();
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
        let clear = match self.in_the_clear(note, &receiver.url).await? {
            Ok(clear) => clear,
            Err(why) => return Ok(Err(why)),
        };
        // A `.travis.yml` for Travis names this service, so that Travis tells it of its builds.
        let is_here = Url::parse(&clear).is_ok_and(|url| url.origin() == self.public_url.origin());
        Ok(if is_here { Err("this service tells itself nothing") } else { Ok(clear) })
    }

    /// Returns a text of a `.travis.yml`, or that in a `{secure: …}`.
    async fn in_the_clear(&self, note: &Notification, value: &Json) -> anyhow::Result<Result<String, &'static str>> {
        const NOT_OURS: &str = "the address was not encrypted with this repository's key";
        match (value.as_str(), value["secure"].as_str()) {
            (Some(text), _) => Ok(Ok(text.to_owned())),
            (None, Some(cipher)) => {
                let Some(key) = self.keys.private(note.repo_id).await? else { return Ok(Err(NOT_OURS)) };
                let cipher = cipher.to_owned();
                let decrypt = tokio::task::spawn_blocking(move || key.decrypt(&cipher));
                Ok(decrypt.await.context("decrypting a receiver")?.map_err(|_| NOT_OURS))
            }
            (None, None) => Ok(Err("there is no address")),
        }
    }
}

/// Returns the pause after this number of tries.
fn pause_after(tries: i32) -> Duration {
    FIRST_PAUSE * 2_u32.pow(tries.unsigned_abs().saturating_sub(1).min(16))
}

/// Returns the subject of a message: the publications, or else the build.
fn about<'a>(publications: Option<&'a Publications>, words: Words<'a>) -> About<'a> {
    publications.map_or(About::Build(words), About::Publications)
}

fn event(word: &str) -> Option<Event> {
    Some(match word {
        "started" => Event::Started,
        "finished" => Event::Finished,
        "canceled" => Event::Canceled,
        "errored" => Event::Errored,
        "approval" => Event::Approval,
        "published" => Event::Published,
        "failed" => Event::PublishFailed,
        "rejected" => Event::Rejected,
        _ => return None,
    })
}
