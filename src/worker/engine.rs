//! The health of a runner's engine. No job is claimed while the engine does not answer, and nothing else waits for it.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use sqlx::PgPool;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::ENGINE_RETRY_DELAY;
use crate::executor::Engine;
use crate::storage::Room;
use crate::store::alerts;

/// An engine that takes longer to answer gets no new jobs until it has answered.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// The time after which an alert is stored again. Another process may have removed it while Postgres was away.
const ALERT_REFRESH_INTERVAL: Duration = Duration::from_secs(60);
/// The number of tries of one action on an engine that answers.
const TRIES: u32 = 3;

/// The known state of an engine: whether it answers, and whether its disk has room.
#[derive(Debug)]
pub(super) struct EngineHealth {
    runner: String,
    engine: Engine,
    db: PgPool,
    room: Room,
    reachable: watch::Sender<bool>,
    /// The folder in which the engine keeps all its data, if the engine is on this machine.
    root: OnceLock<PathBuf>,
}

impl EngineHealth {
    pub(super) fn new(runner: &str, engine: Engine, db: PgPool, room: Room) -> Self {
        let reachable = watch::Sender::new(false);
        Self { runner: runner.to_owned(), engine, db, room, reachable, root: OnceLock::new() }
    }

    /// Asks the engine for its version until `shutdown`, and reports when its reachability changes.
    pub(super) async fn watch(&self, shutdown: CancellationToken) {
        let mut reported: Option<(Option<String>, Instant)> = None;
        while !shutdown.is_cancelled() {
            let round = async {
                let alert = self.ask().await;
                let is_reported =
                    reported.as_ref().is_some_and(|(last, at)| *last == alert && at.elapsed() < ALERT_REFRESH_INTERVAL);
                if !is_reported && self.record_alert(alert.as_deref()).await {
                    reported = Some((alert, Instant::now()));
                }
                tokio::time::sleep(ENGINE_RETRY_DELAY).await;
            };
            tokio::select! {
                () = round => {}
                () = shutdown.cancelled() => {}
            }
        }
    }

    /// Asks once. Returns why the engine does not answer; `None` when it does.
    async fn ask(&self) -> Option<String> {
        let answer = self.engine.version();
        tokio::pin!(answer);
        let answer = match tokio::time::timeout(ANSWER_TIMEOUT, &mut answer).await {
            Ok(answer) => answer,
            Err(_) => {
                self.set_away();
                answer.await
            }
        };
        match answer {
            Ok(version) => {
                if !self.reachable.send_replace(true) {
                    info!(runner = self.runner, "Docker {version} at {}", self.engine.endpoint());
                }
                None
            }
            Err(error) => {
                self.set_away();
                self.engine.forget_ready();
                Some(format!("{error:#}"))
            }
        }
    }

    /// Records that the engine is away, until it is asked again.
    pub(super) fn set_away(&self) {
        self.reachable.send_replace(false);
    }

    /// Returns true if the engine answered when it was last asked.
    pub(super) fn is_reachable(&self) -> bool {
        *self.reachable.borrow()
    }

    /// Waits until the engine answers.
    pub(super) async fn until_reachable(&self) {
        // This object holds the sending end, so the wait cannot fail.
        let _ = self.reachable.subscribe().wait_for(|reachable| *reachable).await;
    }

    /// Waits until the engine answers, so that the caller can try again: a lost connection is no reason to end a job.
    ///
    /// # Errors
    /// Returns `error` when the action failed [`TRIES`] times although the engine answers.
    pub(super) async fn wait_to_retry(&self, error: anyhow::Error, tries: &mut u32) -> anyhow::Result<()> {
        *tries += 1;
        let mut answers = self.engine.version().await.is_ok();
        if answers && *tries >= TRIES {
            return Err(error);
        }
        warn!(runner = self.runner, "an action failed and is tried again when the engine answers: {error:#}");
        while !answers {
            tokio::time::sleep(ENGINE_RETRY_DELAY).await;
            answers = self.engine.version().await.is_ok();
        }
        Ok(())
    }

    /// Finds the engine's disk, if the engine is on this machine.
    pub(super) async fn find_disk(&self) -> anyhow::Result<()> {
        if let Some(root) = self.engine.local_root().await? {
            let _ = self.root.set(root);
        }
        Ok(())
    }

    fn disk(&self) -> Option<&PathBuf> {
        self.root.get().filter(|root| root.exists())
    }

    /// Returns why no job begins on the engine's disk; `None` when the disk has room, or is on another machine.
    ///
    /// # Errors
    /// Fails when the disk cannot be examined.
    pub(super) fn wanting_room(&self) -> anyhow::Result<Option<String>> {
        self.disk().map_or(Ok(None), |root| self.room.wanting_at(root))
    }

    /// Returns true if the engine's disk has room for `more` bytes.
    pub(super) fn has_room_for(&self, more: ByteSize) -> anyhow::Result<bool> {
        self.disk().map_or(Ok(true), |root| self.room.has_for_at(root, more))
    }

    /// Stores the alert about the engine, or removes it. Returns true if that worked.
    async fn record_alert(&self, message: Option<&str>) -> bool {
        match alerts::set(&self.db, &format!("runner {}", self.runner), message).await {
            Ok(true) => match message {
                Some(message) => error!(runner = self.runner, "{message}"),
                None => info!(runner = self.runner, "the runner works again"),
            },
            Ok(false) => {}
            Err(error) => {
                warn!(runner = self.runner, "cannot store the runner's alert: {error}");
                return false;
            }
        }
        true
    }
}
