//! The phase between the start of a script and its end: the container's output goes where it is kept or shown.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::anyhow;
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use tokio::sync::Notify;
use tracing::warn;

use super::Shared;
use crate::executor::{Engine, Exit, Life};

/// The number of appends after which a log counts as long, and its bytes are gathered for a moment before each commit.
const LONG_LOG: u32 = 32;
const GATHER: Duration = Duration::from_millis(40);
/// The size from which a commit is large enough for the next one to follow at once.
const GATHERED_ENOUGH: usize = 64 * 1024;
/// The pause before an engine that went away is asked again.
const ENGINE_RETRY_DELAY: Duration = Duration::from_secs(2);
/// The pause before a broken stream is opened again.
const REOPEN: Duration = Duration::from_millis(200);
/// The number of bytes that may wait for their commit. Beyond it, the engine waits.
const MOST_GATHERED: usize = 1024 * 1024;

/// The place where the output of an attempt goes: the stored log, or a terminal.
pub trait Output {
    type Error;

    /// Returns the offset in the container's output at which reading continues, and forgets bytes that were read but
    /// not kept.
    fn read_on_from(&mut self) -> u64;

    /// Takes the next bytes of the output.
    fn append(&mut self, output: &[u8]) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Returns true when no more output is wanted.
    fn is_full(&self) -> bool;

    /// Records that the output is complete.
    fn end(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// A container in which the job runs.
#[derive(Debug)]
pub struct Started {
    pub container: String,
    /// True when the container had ended before this process found it.
    pub ended_before: bool,
}

/// A container that has ended, with all of its output taken.
#[derive(Debug)]
pub struct Ended {
    pub container: String,
    pub exit: Exit,
    /// True when the container ended while its engine was away, or while no process followed it.
    pub unseen: bool,
}

/// The reason why a container was not followed to its end.
#[derive(Debug)]
pub enum FollowError<E> {
    /// The output could not be kept.
    Output(E),
    /// The engine does not have the container, or was never reached.
    Engine(anyhow::Error),
}

impl Started {
    /// Hands the container's output on until the container has ended. An engine that goes away is waited for.
    ///
    /// # Errors
    /// Fails when the output cannot be kept, and when the container vanished.
    pub async fn follow<O: Output>(
        self,
        engine: &Engine,
        progress: &Shared,
        output: &mut O,
    ) -> Result<Ended, FollowError<O::Error>> {
        let Self { container, ended_before } = self;
        let mut engine_was_away = false;
        loop {
            let whole = take_output(engine, &container, progress, output).await?;
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
                    output.end().await.map_err(FollowError::Output)?;
                    return Ok(Ended { container, exit, unseen: engine_was_away || ended_before });
                }
                // The stream broke: it is read again from the offset of what was kept.
                Ok(Life::Exited(_) | Life::Running(_)) => tokio::time::sleep(REOPEN).await,
                Ok(Life::Created | Life::Gone) => {
                    return Err(FollowError::Engine(anyhow!("the container vanished while the job ran")));
                }
                Err(error) => {
                    warn!("the engine went away: {error:#}");
                    progress.lock().output_lost();
                    // A container that still runs did not end with its engine.
                    engine_was_away = !wait_for_engine(engine, &container, progress).await;
                }
            }
        }
    }
}

/// Waits until the engine reports the container again; returns true when the container still runs.
async fn wait_for_engine(engine: &Engine, container: &str, progress: &Shared) -> bool {
    loop {
        tokio::time::sleep(ENGINE_RETRY_DELAY).await;
        match engine.life(container).await {
            Ok(Life::Running(_)) => {
                progress.lock().output_resumed();
                return true;
            }
            // The rest of the output is read before the attempt is judged.
            Ok(_) => return false,
            Err(_) => {}
        }
    }
}

/// Hands on the output from the kept offset on. Returns true when the stream has ended, false when it broke.
async fn take_output<O: Output>(
    engine: &Engine,
    container: &str,
    progress: &Shared,
    output: &mut O,
) -> Result<bool, FollowError<O::Error>> {
    let frames = engine.follow(container, output.read_on_from()).map_err(FollowError::Engine)?;
    let gathered = Gathered::default();
    let read = gathered.fill(frames);
    let write = hand_on(&gathered, progress, output);
    tokio::pin!(read, write);
    let mut whole = None;
    loop {
        tokio::select! {
            ended = &mut read, if whole.is_none() => whole = Some(ended),
            // Nothing more is read for an output that is full. Its stream counts as whole.
            kept = &mut write => {
                kept.map_err(FollowError::Output)?;
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

/// Hands on gathered bytes until the stream ends or the output is full.
async fn hand_on<O: Output>(gathered: &Gathered, shared: &Shared, output: &mut O) -> Result<(), O::Error> {
    let mut appends = 0_u32;
    while let Some(bytes) = gathered.take().await {
        shared.lock().output_came();
        // Postgres may be away for long meanwhile, and the job goes on.
        output.append(&bytes).await?;
        {
            let mut progress = shared.lock();
            progress.output_stored();
            progress.log_full = output.is_full();
        }
        if output.is_full() {
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
