//! From a container's output to the stored log.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use tokio::sync::Notify;
use tracing::warn;

use super::log::Log;
use super::run::End;
use super::{ENGINE_RETRY_DELAY, Worker};
use crate::attempt::Shared;
use crate::executor::{Exit, Life};

/// After this many appends a log is a long one, and its bytes are gathered for a moment before each commit.
const LONG_LOG: u32 = 32;
const GATHER: Duration = Duration::from_millis(40);
/// A commit of at least this many bytes is worth its while: the next one follows at once.
const GATHERED_ENOUGH: usize = 64 * 1024;
/// The pause before a stream that broke is opened again.
const REOPEN: Duration = Duration::from_millis(200);
/// Bytes that may wait for their commit; beyond that the engine waits.
const MOST_GATHERED: usize = 1024 * 1024;

impl Worker {
    /// Stores the container's output until it has ended. Gives how that was, and whether the engine was away then.
    pub(super) async fn follow(&self, container: &str, shared: &Shared, log: &mut Log) -> Result<(Exit, bool), End> {
        let mut engine_was_away = false;
        loop {
            let whole = self.store_output(container, shared, log).await?;
            // A stream that broke says nothing about the container: whether that has ended is asked without waiting.
            let ended = match whole {
                true => self.docker.wait(container).await,
                false => Ok(()),
            };
            let ended = match ended {
                Ok(()) => self.docker.life(container).await,
                Err(error) => Err(error),
            };
            match ended {
                Ok(Life::Exited(exit)) if whole => {
                    log.end().await?;
                    return Ok((exit, engine_was_away));
                }
                // The stream broke: it is read again from the stored offset.
                Ok(Life::Exited(_) | Life::Running(_)) => tokio::time::sleep(REOPEN).await,
                Ok(Life::Created | Life::Gone) => {
                    return Err(End::GivenBack(anyhow::anyhow!("the container vanished while the job ran")));
                }
                Err(error) => {
                    warn!("the engine went away: {error:#}");
                    shared.lock().output_lost();
                    // A container that still runs was not taken along.
                    engine_was_away = !self.until_seen(container, shared).await;
                }
            }
        }
    }

    /// Returns when the engine tells of the container again, and whether it still runs.
    async fn until_seen(&self, container: &str, shared: &Shared) -> bool {
        loop {
            tokio::time::sleep(ENGINE_RETRY_DELAY).await;
            match self.docker.life(container).await {
                Ok(Life::Running(_)) => {
                    shared.lock().output_resumed();
                    return true;
                }
                // What it did last is read before anybody judges.
                Ok(_) => return false,
                Err(_) => {}
            }
        }
    }

    /// Stores the output from the stored offset on, until the stream ends (true) or breaks (false).
    async fn store_output(&self, container: &str, shared: &Shared, log: &mut Log) -> Result<bool, End> {
        let frames = match self.docker.logs(container, log.read_on_from()) {
            Ok(frames) => frames,
            Err(error) => return Err(End::GivenBack(error)),
        };
        let gathered = Gathered::default();
        let read = gathered.fill(frames);
        let write = store_gathered(&gathered, shared, log);
        tokio::pin!(read, write);
        let mut whole = None;
        loop {
            tokio::select! {
                ended = &mut read, if whole.is_none() => whole = Some(ended),
                // A log that is full leaves its stream unread; it counts as whole.
                stored = &mut write => return stored.map(|()| whole.unwrap_or(true)),
            }
        }
    }
}

/// Output that waits for its commit. The engine sends each line by itself; what comes while a commit is under way goes with
/// the next one.
#[derive(Default)]
struct Gathered {
    state: Mutex<(Vec<u8>, bool)>,
    came: Notify,
    taken: Notify,
}

impl Gathered {
    /// Gathers all that a stream gives. False when the stream broke.
    async fn fill(&self, mut frames: impl Stream<Item = anyhow::Result<Bytes>> + Unpin) -> bool {
        let whole = loop {
            match frames.next().await {
                None => break true,
                Some(Ok(frame)) => self.push(&frame).await,
                Some(Err(error)) => {
                    warn!("the output's stream broke: {error:#}");
                    break false;
                }
            }
        };
        self.lock().1 = true;
        self.came.notify_one();
        whole
    }

    async fn push(&self, frame: &[u8]) {
        while self.lock().0.len() >= MOST_GATHERED {
            self.taken.notified().await;
        }
        self.lock().0.extend_from_slice(frame);
        self.came.notify_one();
    }

    /// Takes what there is, once there is something; none at the end.
    async fn take(&self) -> Option<Vec<u8>> {
        loop {
            {
                let mut state = self.lock();
                if !state.0.is_empty() {
                    self.taken.notify_one();
                    return Some(std::mem::take(&mut state.0));
                }
                if state.1 {
                    return None;
                }
            }
            self.came.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, (Vec<u8>, bool)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stores what is gathered in commits until there is no more or the log is full.
async fn store_gathered(gathered: &Gathered, shared: &Shared, log: &mut Log) -> Result<(), End> {
    let mut appends = 0_u32;
    while let Some(bytes) = gathered.take().await {
        log.append(&bytes).await?;
        {
            let mut progress = shared.lock();
            progress.last_output = Instant::now();
            progress.log_full = log.is_full();
        }
        if log.is_full() {
            // The rest is not wanted; a flood is not read while it is being stopped.
            return Ok(());
        }
        appends += 1;
        if appends > LONG_LOG && bytes.len() < GATHERED_ENOUGH {
            tokio::time::sleep(GATHER).await;
        }
    }
    Ok(())
}
