//! Logs, wherever they are: in rows while their jobs run, in objects after that.

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use sqlx::PgPool;

use super::objects::{Keys, NewObject, Objects};
use crate::domain::{AttemptId, JobId};
use crate::store::output::log_objects::{self, LogObject};
use crate::store::output::logs::{self, Piece};

/// Bytes of a log in one frame. Who reads from somewhere has to decompress one frame for nothing at most.
const FRAME: usize = 256 * 1024;
/// zstd's level: as fast as a disk, and a log is written once and kept for months.
const LEVEL: i32 = 3;
/// The most bytes of an object that are asked for at once.
const FETCH: u64 = 4 << 20;

/// All logs of an installation.
#[derive(Debug, Clone)]
pub struct Logs {
    db: PgPool,
    objects: Objects,
}

/// What became of moving the logs of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// Somebody else does it, or has done it.
    Nothing,
    /// So many bytes of logs are in objects of so many bytes now.
    Bytes(u64, u64),
}

impl Logs {
    /// The logs in these rows and objects.
    pub fn new(db: PgPool, objects: Objects) -> Self {
        Self { db, objects }
    }

    /// Reads an attempt's log from `offset` on, until at least `enough` bytes are there or the log ends. Nothing is there
    /// of a log that was removed.
    ///
    /// # Errors
    /// When Postgres or the place of the objects does not answer, or what is stored is broken.
    pub async fn read(&self, attempt: AttemptId, offset: i64, enough: usize) -> anyhow::Result<Piece> {
        let mut piece = logs::read(&self.db, attempt, offset, enough).await?;
        if piece.bytes.len() >= enough {
            return Ok(piece);
        }
        // The log ends there, or it is an object; it may have become one just now, in the middle of the reading.
        if let Some(object) = log_objects::find(&self.db, attempt).await? {
            let from = offset + i64::try_from(piece.bytes.len())?;
            let is_whole = self.read_object(&object, from, enough, &mut piece.bytes).await?;
            // It may have been removed since the row was read; then the row says so by now.
            if !is_whole && log_objects::removed(&self.db, attempt).await?.is_none() {
                bail!("the object of the log of job {} is missing from the storage", attempt.job);
            }
        }
        Ok(piece)
    }

    /// Reads a log that is an object; false when the object is gone.
    async fn read_object(&self, log: &LogObject, from: i64, enough: usize, into: &mut Vec<u8>) -> anyhow::Result<bool> {
        let Some(key) = &log.key else { return Ok(false) };
        let frame = usize::try_from(log.frame)?;
        let (mut at, length) = (usize::try_from(from)?, usize::try_from(log.length)?);
        let starts: Vec<u64> = log.frames.iter().chain([&log.size]).map(|at| at.cast_unsigned()).collect();
        ensure!(log.frames.len() == length.div_ceil(frame), "a stored log has {} frames", log.frames.len());
        while at < length && into.len() < enough {
            let first = at / frame;
            let wanted = at.saturating_add(enough - into.len()).min(length).div_ceil(frame);
            // As many whole frames as are wanted and as one request may bring, and one at least.
            let fits = |end: &usize| *end == first + 1 || starts[*end] - starts[first] <= FETCH;
            let end = (first + 1..=wanted).take_while(fits).last().unwrap_or(first + 1);
            let Some(bytes) = self.objects.range(key, starts[first]..starts[end]).await? else {
                return Ok(false);
            };
            for number in first..end {
                let place = [starts[number], starts[number + 1]].map(|at| usize::try_from(at - starts[first]));
                let packed = bytes.get(place[0]?..place[1]?).context("a stored log is cut off")?;
                let size = frame.min(length - number * frame);
                let raw = zstd::bulk::decompress(packed, size).context("a stored log does not decompress")?;
                ensure!(raw.len() == size, "a frame of a stored log has {} bytes, not {size}", raw.len());
                into.extend_from_slice(&raw[at - number * frame..]);
                at = number * frame + size;
            }
        }
        Ok(true)
    }

    /// Moves the logs of a finished job into objects, one for each attempt. A crash in the middle leaves objects that the
    /// next try replaces.
    ///
    /// # Errors
    /// When Postgres or the place of the objects does not answer; the logs stay in rows then.
    pub async fn archive(&self, keys: &Keys, job: JobId) -> anyhow::Result<Moved> {
        let Some((mut tx, attempts)) = log_objects::begin(&self.db, job).await? else { return Ok(Moved::Nothing) };
        let (mut raw, mut packed) = (0, 0);
        for (number, length) in attempts {
            let attempt = AttemptId { job, number };
            let object = self.write_object(keys.log(attempt), attempt, length).await?;
            let same = log_objects::moved(&mut tx, attempt, &object).await?;
            ensure!(same, "the log of job {job} changed while it was moved");
            raw += object.length.cast_unsigned();
            packed += object.size.cast_unsigned();
        }
        log_objects::all_moved(&mut tx, job).await?;
        tx.commit().await?;
        Ok(Moved::Bytes(raw, packed))
    }

    async fn write_object(&self, key: String, attempt: AttemptId, length: i64) -> anyhow::Result<LogObject> {
        let mut object = self.objects.begin(&key);
        match self.pack(&mut object, attempt, length).await {
            Ok((size, frames)) => {
                object.finish().await?;
                let frame = i32::try_from(FRAME)?;
                Ok(LogObject { key: Some(key), length, size, frame, frames, removed: None })
            }
            Err(error) => {
                object.abort().await;
                Err(error)
            }
        }
    }

    /// Writes a log into an object; gives its size, and where each frame begins in it.
    async fn pack(&self, object: &mut NewObject, attempt: AttemptId, length: i64) -> anyhow::Result<(i64, Vec<i64>)> {
        let (mut size, mut frames) = (0, Vec::new());
        let mut offset = 0;
        let mut held = Vec::new();
        while offset < length {
            let bytes = logs::read(&self.db, attempt, offset, FRAME).await?.bytes;
            ensure!(!bytes.is_empty(), "the log of job {} ends at {offset}, not at {length}", attempt.job);
            offset += i64::try_from(bytes.len())?;
            held.extend(bytes);
            let whole = if offset < length { held.len() / FRAME * FRAME } else { held.len() };
            for frame in held[..whole].chunks(FRAME) {
                let packed = zstd::bulk::compress(frame, LEVEL).context("compressing a log")?;
                frames.push(size);
                size += i64::try_from(packed.len())?;
                // A copy: what compressed it has made room for text that does not compress, and the object holds on to it.
                object.write(Bytes::copy_from_slice(&packed)).await?;
            }
            held.drain(..whole);
        }
        Ok((size, frames))
    }
}
