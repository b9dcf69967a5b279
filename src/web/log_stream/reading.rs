//! The reading of a stored log for people: its lines, and the losses in it. It starts at a stored checkpoint, and stores
//! further ones on its way. So a long log is rendered from its first byte once, and not for each reader.

use anyhow::Context as _;
use sqlx::PgPool;
use tokio::sync::Semaphore;
use tracing::warn;

use crate::domain::AttemptId;
use crate::log_view::{Checkpoint, Op, Renderer, line_html};
use crate::lora::series::LogReader;
use crate::storage::Logs;
use crate::store::output::log_checkpoints::{self, LogCheckpoint};
use crate::web::State;

/// Number of bytes of log that are read at a time.
const PIECE: usize = 256 * 1024;
/// Number of bytes between two checkpoints.
const APART: u64 = 4 << 20;
/// Number of bytes after a checkpoint from which the end of a finished log gets one, too.
const WORTH_STORING: u64 = 64 << 10;

/// A reader of one attempt's log.
pub(in crate::web) struct Reading<'a> {
    db: &'a PgPool,
    logs: &'a Logs,
    turns: &'a Semaphore,
    attempt: AttemptId,
}

/// The last lines of a log, and all its losses.
pub(in crate::web) struct End {
    pub(in crate::web) ops: Vec<Op>,
    /// Offset of the first line in `ops`.
    pub(in crate::web) from: u64,
    /// Token with which the stream continues.
    pub(in crate::web) token: String,
    pub(in crate::web) losses: LogReader,
}

/// State of both readers. The losses may be known further on than the lines.
struct Readers {
    renderer: Renderer,
    losses: LogReader,
    losses_at: u64,
    /// Place of the last checkpoint.
    stored: u64,
}

impl<'a> Reading<'a> {
    /// Returns a reader of an attempt's log.
    pub(in crate::web) fn new(state: &'a State, attempt: AttemptId) -> Self {
        Self { db: &state.db, logs: &state.logs, turns: &state.limits.renders, attempt }
    }

    /// Reads the last `shown` bytes of a log of this length, from a line's start, and all its losses. The line without
    /// an end at the log's end belongs to them only if the log is finished.
    pub(in crate::web) async fn end(&self, length: u64, shown: u64, is_finished: bool) -> anyhow::Result<End> {
        let keep_from = length.saturating_sub(shown);
        let mut readers = self.readers(keep_from).await?;
        if let Some((later, losses)) = self.checkpoint(length).await? {
            (readers.losses, readers.losses_at, readers.stored) = (losses, later.offset(), later.offset());
        }
        let (mut ops, mut from) = (Vec::new(), readers.renderer.offset());
        while let Some(new) = self.advance(&mut readers, length).await? {
            ops.extend(new);
            let line = readers.renderer.checkpoint().offset();
            if line < keep_from {
                ops.clear();
                from = line;
            }
        }
        let token = readers.renderer.checkpoint().to_token();
        if is_finished {
            if let Some(checkpoint) = readers.checkpoint(WORTH_STORING)? {
                self.store(&checkpoint).await;
            }
            ops.extend(readers.renderer.finish());
            readers.losses.finish();
        }
        Ok(End { ops, from, token, losses: readers.losses })
    }

    /// Reads the losses of the log up to `end`.
    pub(in crate::web) async fn losses(&self, end: u64) -> anyhow::Result<LogReader> {
        let mut readers = self.readers(end).await?;
        // Lines are rendered only where that makes checkpoints.
        if end - readers.renderer.offset() > 2 * APART {
            while self.advance(&mut readers, end).await?.is_some() {}
            return Ok(readers.losses);
        }
        let Readers { mut losses, losses_at: mut offset, .. } = readers;
        while let Some(bytes) = self.bytes(offset, end).await? {
            offset += bytes.len() as u64;
            losses = self
                .in_turn(move || {
                    losses.feed(&bytes);
                    losses
                })
                .await?;
        }
        Ok(losses)
    }

    /// Returns readers at the last checkpoint up to `end`, or at the start of the log.
    async fn readers(&self, end: u64) -> anyhow::Result<Readers> {
        let start = || (Checkpoint::begin(self.attempt.number), LogReader::new());
        let (view, losses) = self.checkpoint(end).await?.unwrap_or_else(start);
        let place = view.offset();
        Ok(Readers { renderer: Renderer::new(view, line_html), losses, losses_at: place, stored: place })
    }

    /// Returns the last checkpoint up to `end`. One that another version has written in another form is passed over.
    async fn checkpoint(&self, end: u64) -> anyhow::Result<Option<(Checkpoint, LogReader)>> {
        let stored = log_checkpoints::last_before(self.db, self.attempt, i64::try_from(end)?).await?;
        Ok(stored.and_then(|stored| {
            let view = Checkpoint::from_token(&stored.view)?;
            let losses = serde_json::from_str(&stored.losses).ok()?;
            (view.attempt() == self.attempt.number && view.offset() == stored.place.unsigned_abs())
                .then_some((view, losses))
        }))
    }

    /// Stores a checkpoint. Without it, the next reader only takes longer.
    async fn store(&self, checkpoint: &LogCheckpoint) {
        if let Err(error) = log_checkpoints::put(self.db, self.attempt, checkpoint).await {
            warn!("a checkpoint of the log of {} is not stored: {error}", self.attempt);
        }
    }

    /// Reads the next piece. Returns the ops of its complete lines, or `None` at `end`.
    async fn advance(&self, readers: &mut Readers, end: u64) -> anyhow::Result<Option<Vec<Op>>> {
        let Some(bytes) = self.bytes(readers.renderer.offset(), end).await? else { return Ok(None) };
        let mut moved = std::mem::replace(readers, Readers::empty());
        let work = move || {
            let read = moved.read(&bytes);
            (moved, read)
        };
        let (moved, read) = self.in_turn(work).await?;
        *readers = moved;
        let (ops, checkpoint) = read?;
        if let Some(checkpoint) = checkpoint {
            self.store(&checkpoint).await;
        }
        Ok(Some(ops))
    }

    /// Returns bytes from `offset` on, or `None` at `end` or where the log is no longer there.
    async fn bytes(&self, offset: u64, end: u64) -> anyhow::Result<Option<Vec<u8>>> {
        if offset >= end {
            return Ok(None);
        }
        let mut bytes = self.logs.read(self.attempt, i64::try_from(offset)?, PIECE).await?.bytes;
        bytes.truncate(usize::try_from(end - offset)?);
        Ok(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }

    /// Runs work that takes a processor for some milliseconds: apart from the threads that serve others, and while not
    /// too much such work runs.
    async fn in_turn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> anyhow::Result<T> {
        let _turn = self.turns.acquire().await?;
        tokio::task::spawn_blocking(work).await.context("rendering a log")
    }
}

impl Readers {
    fn empty() -> Self {
        let renderer = Renderer::new(Checkpoint::begin(0), line_html);
        Self { renderer, losses: LogReader::new(), losses_at: 0, stored: 0 }
    }

    /// Reads bytes. Returns the ops of their complete lines, and a checkpoint if it is time for one.
    fn read(&mut self, bytes: &[u8]) -> anyhow::Result<(Vec<Op>, Option<LogCheckpoint>)> {
        let lines = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let (lines, rest) = bytes.split_at(lines);
        let ops = self.feed(lines);
        let checkpoint = self.checkpoint(APART)?;
        self.feed(rest);
        Ok((ops, checkpoint))
    }

    fn feed(&mut self, bytes: &[u8]) -> Vec<Op> {
        let begin = self.renderer.offset();
        let known = usize::try_from(self.losses_at.saturating_sub(begin)).unwrap_or(usize::MAX);
        if let Some(unknown) = bytes.get(known..) {
            self.losses.feed(unknown);
            self.losses_at = begin + bytes.len() as u64;
        }
        self.renderer.feed(bytes)
    }

    /// Returns a checkpoint if both readers are at a line's end, this far behind the last one.
    fn checkpoint(&mut self, apart: u64) -> anyhow::Result<Option<LogCheckpoint>> {
        let view = self.renderer.checkpoint();
        let place = view.offset();
        if place < self.stored + apart || place != self.renderer.offset() || place != self.losses_at {
            return Ok(None);
        }
        self.stored = place;
        let losses = serde_json::to_string(&self.losses)?;
        Ok(Some(LogCheckpoint { place: i64::try_from(place)?, view: view.to_token(), losses }))
    }
}
