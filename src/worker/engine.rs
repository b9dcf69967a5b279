//! Whether the runner's engine answers. No job is claimed while it does not, and nothing else waits for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{ENGINE_RETRY_DELAY, Worker};
use crate::store::alerts;

/// An engine that takes longer to answer gets no new jobs until it has.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// How long what was told counts as known. Somebody else may have tidied it away while Postgres was.
const ALERT_REFRESH_INTERVAL: Duration = Duration::from_secs(60);
/// How often something is tried on an engine that answers.
const TRIES: u32 = 3;

impl Worker {
    /// Asks the engine again and again whether it is there, until `shutdown`, and tells when that changes.
    pub async fn keep_watch(self: Arc<Self>, shutdown: CancellationToken) {
        let mut told: Option<(Option<String>, Instant)> = None;
        while !shutdown.is_cancelled() {
            let round = async {
                let trouble = self.ask().await;
                let is_told =
                    told.as_ref().is_some_and(|(told, at)| *told == trouble && at.elapsed() < ALERT_REFRESH_INTERVAL);
                if !is_told && self.record_alert(trouble.as_deref()).await {
                    told = Some((trouble, Instant::now()));
                }
                tokio::time::sleep(ENGINE_RETRY_DELAY).await;
            };
            tokio::select! {
                () = round => {}
                () = shutdown.cancelled() => {}
            }
        }
    }

    /// Asks once; gives why it does not answer.
    async fn ask(&self) -> Option<String> {
        let answer = self.docker.version();
        tokio::pin!(answer);
        let answer = match tokio::time::timeout(ANSWER_TIMEOUT, &mut answer).await {
            Ok(answer) => answer,
            Err(_) => {
                self.engine_is_away();
                answer.await
            }
        };
        match answer {
            Ok(version) => {
                if !self.there.send_replace(true) {
                    info!(runner = self.name, "Docker {version} at {}", self.docker.endpoint());
                }
                None
            }
            Err(trouble) => {
                self.engine_is_away();
                self.pool.forget();
                Some(format!("{trouble:#}"))
            }
        }
    }

    /// Notes that the engine is away: who waits for it waits until it has been asked again.
    pub(super) fn engine_is_away(&self) {
        self.there.send_replace(false);
    }

    /// Whether the engine answered when it was last asked.
    pub fn is_reachable(&self) -> bool {
        *self.there.borrow()
    }

    /// Returns when the engine answers.
    pub(super) async fn until_there(&self) {
        // The sending end is our own, so the wait cannot fail.
        let _ = self.there.subscribe().wait_for(|there| *there).await;
    }

    /// Returns when it is worth to do again on the engine what failed with `error`: a job is not judged by a connection
    /// that was cut.
    ///
    /// # Errors
    /// The error, when it came again and again although the engine is there.
    pub(super) async fn try_again(&self, error: anyhow::Error, tries: &mut u32) -> anyhow::Result<()> {
        *tries += 1;
        let mut answers = self.docker.version().await.is_ok();
        if answers && *tries >= TRIES {
            return Err(error);
        }
        warn!(runner = self.name, "trying again when the engine answers: {error:#}");
        while !answers {
            tokio::time::sleep(ENGINE_RETRY_DELAY).await;
            answers = self.docker.version().await.is_ok();
        }
        Ok(())
    }

    /// Stores what is wrong with the engine; whether that could be stored.
    async fn record_alert(&self, message: Option<&str>) -> bool {
        match alerts::set(&self.db, &format!("runner {}", self.name), message).await {
            Ok(true) => match message {
                Some(message) => error!(runner = self.name, "{message}"),
                None => info!(runner = self.name, "the runner works again"),
            },
            Ok(false) => {}
            Err(error) => {
                warn!(runner = self.name, "cannot store the runner's trouble: {error}");
                return false;
            }
        }
        true
    }
}
