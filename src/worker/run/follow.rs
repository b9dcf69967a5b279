//! The way of a container's output into the stored log.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::anyhow;
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use tokio::sync::Notify;
use tracing::warn;

use super::log::{Log, Lost};
use super::start::Started;
use super::{End, Run};
use crate::attempt::Shared;
use crate::executor::{Exit, Life};
use crate::worker::ENGINE_RETRY_DELAY;

/// The number of appends after which a log counts as long, and its bytes are gathered for a moment before each commit.
const LONG_LOG: u32 = 32;
const GATHER: Duration = Duration::from_millis(40);
/// The size from which a commit is large enough for the next one to follow at once.
const GATHERED_ENOUGH: usize = 64 * 1024;
/// The pause before a broken stream is opened again.
const REOPEN: Duration = Duration::from_millis(200);
/// The number of bytes that may wait for their commit. Beyond it, the engine waits.
const MOST_GATHERED: usize = 1024 * 1024;

/// A container that has ended, with all of its output stored.
pub(super) struct Ended {
    pub(super) container: String,
    pub(super) exit: Exit,
    /// True when the container ended while its engine was away, or while no process followed it.
    pub(super) unseen: bool,
}

/// Stores the container's output until the container has ended.
pub(super) async fn follow(run: &Run, started: Started, log: &mut Log) -> Result<Ended, End> {
    let Started { container, ended_before } = started;
    let engine = &run.handles.engine;
    let mut engine_was_away = false;
    loop {
        let whole = store_output(run, &container, log).await?;
        // A broken stream is no sign that the container has ended, so then the state is asked for without waiting.
        let ended = match whole {
            true => engine.wait(&container).await,
            false => Ok(()),
        };
        let ended = match ended {
            Ok(()) => engine.life(&container).await,
            Err(error) => Err(error),
        };
        match ended {
            Ok(Life::Exited(exit)) if whole => {
                log.end().await?;
                return Ok(Ended { container, exit, unseen: engine_was_away || ended_before });
            }
            // The stream broke: it is read again from the stored offset.
            Ok(Life::Exited(_) | Life::Running(_)) => tokio::time::sleep(REOPEN).await,
            Ok(Life::Created | Life::Gone) => {
                return Err(End::GivenBack(anyhow!("the container vanished while the job ran")));
            }
            Err(error) => {
                warn!("the engine went away: {error:#}");
                run.progress.lock().output_lost();
                // A container that still runs did not end with its engine.
                engine_was_away = !wait_for_engine(run, &container).await;
            }
        }
    }
}

/// Waits until the engine reports the container again; returns true when the container still runs.
async fn wait_for_engine(run: &Run, container: &str) -> bool {
    loop {
        tokio::time::sleep(ENGINE_RETRY_DELAY).await;
        match run.handles.engine.life(container).await {
            Ok(Life::Running(_)) => {
                run.progress.lock().output_resumed();
                return true;
            }
            // The rest of the output is read before the attempt is judged.
            Ok(_) => return false,
            Err(_) => {}
        }
    }
}

/// Stores the output from the stored offset on. Returns true when the stream has ended, false when it broke.
async fn store_output(run: &Run, container: &str, log: &mut Log) -> Result<bool, End> {
    let frames = run.handles.engine.follow(container, log.read_on_from())?;
    let gathered = Gathered::default();
    let read = gathered.fill(frames);
    let write = store_gathered(&gathered, &run.progress, log);
    tokio::pin!(read, write);
    let mut whole = None;
    loop {
        tokio::select! {
            ended = &mut read, if whole.is_none() => whole = Some(ended),
            // Nothing more is read for a log that is full. Its stream counts as whole.
            stored = &mut write => {
                stored?;
                return Ok(whole.unwrap_or(true));
            }
        }
    }
}

/// Output that waits for its commit. The engine sends each line separately. The lines that arrive during a commit are
/// stored by the next one.
#[derive(Default)]
struct Gathered {
    state: Mutex<(Vec<u8>, bool)>,
    came: Notify,
    taken: Notify,
}

impl Gathered {
    /// Gathers all bytes of a stream. Returns false if the stream broke.
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

    /// Waits for bytes and takes all that are there; `None` at the end of the stream.
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

/// Stores gathered bytes in commits until the stream ends or the log is full.
async fn store_gathered(gathered: &Gathered, shared: &Shared, log: &mut Log) -> Result<(), Lost> {
    let mut appends = 0_u32;
    while let Some(bytes) = gathered.take().await {
        shared.lock().output_came();
        // Postgres may be away for long meanwhile, and the job goes on.
        log.append(&bytes).await?;
        {
            let mut progress = shared.lock();
            progress.output_stored();
            progress.log_full = log.is_full();
        }
        if log.is_full() {
            // The rest is not wanted, and the output of a job that prints too much is not read while the job is
            // stopped.
            return Ok(());
        }
        appends += 1;
        if appends > LONG_LOG && bytes.len() < GATHERED_ENOUGH {
            tokio::time::sleep(GATHER).await;
        }
    }
    Ok(())
}
