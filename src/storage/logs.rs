//! Logs in either place: in rows while their jobs run, and in objects after that.

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use sqlx::PgPool;

use super::objects::{Keys, NewObject, Objects};
use crate::domain::{AttemptId, JobId};
use crate::store::output::log_objects::{self, LogObject};
use crate::store::output::logs::{self, Piece};

/// Number of bytes of a log in a frame. A reader that starts anywhere decompresses at most one frame in vain.
const FRAME: usize = 256 * 1024;
/// Compression level of zstd: as fast as a disk, and a log is written once and kept for months.
const LEVEL: i32 = 3;
/// Maximum number of bytes of an object in one request.
const FETCH: u64 = 4 << 20;

/// All logs of an installation.
#[derive(Debug, Clone)]
pub struct Logs {
    db: PgPool,
    objects: Objects,
}

/// Result of moving the logs of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// Another process moves the logs, or has moved them.
    Nothing,
    /// Number of bytes of the logs, and of the objects that they are in now.
    Bytes(u64, u64),
}

impl Logs {
    /// Returns the logs in these rows and objects.
    pub fn new(db: PgPool, objects: Objects) -> Self {
        Self { db, objects }
    }

    /// Reads an attempt's log from `offset`, until at least `enough` bytes are read or the log ends. Of a log that was
    /// removed, there is nothing to read.
    ///
    /// # Errors
    /// Fails when Postgres or the object storage does not answer, or when the stored data is broken.
    pub async fn read(&self, attempt: AttemptId, offset: i64, enough: usize) -> anyhow::Result<Piece> {
        let mut piece = logs::read(&self.db, attempt, offset, enough).await?;
        if piece.bytes.len() >= enough {
            return Ok(piece);
        }
        // Either the log ends there, or it is an object. It may have become one just now, while we were reading.
        if let Some(object) = log_objects::find(&self.db, attempt).await? {
            let from = offset + i64::try_from(piece.bytes.len())?;
            let is_whole = self.read_object(&object, from, enough, &mut piece.bytes).await?;
            // The object may have been removed since the row was read; if so, the row says it by now.
            if !is_whole && log_objects::removed(&self.db, attempt).await?.is_none() {
                bail!("the object of the log of job {} is missing from the storage", attempt.job);
            }
        }
        Ok(piece)
    }

    /// Reads a log that is an object. Returns false when the object does not exist any more.
    async fn read_object(&self, log: &LogObject, from: i64, enough: usize, into: &mut Vec<u8>) -> anyhow::Result<bool> {
        let Some(key) = &log.key else { return Ok(false) };
        let frame = usize::try_from(log.frame)?;
        let (mut at, length) = (usize::try_from(from)?, usize::try_from(log.length)?);
        let starts: Vec<u64> = log.frames.iter().chain([&log.size]).map(|at| at.cast_unsigned()).collect();
        ensure!(log.frames.len() == length.div_ceil(frame), "a stored log has {} frames", log.frames.len());
        while at < length && into.len() < enough {
            let first = at / frame;
            let wanted = at.saturating_add(enough - into.len()).min(length).div_ceil(frame);
            // As many whole frames as needed, within the limit of a request, but at least one.
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

    /// Moves the logs of a finished job into objects, one for each attempt. A crash in between leaves objects that the
    /// next try replaces.
    ///
    /// # Errors
    /// Fails when Postgres or the object storage does not answer; then the logs stay in rows.
    pub async fn archive(&self, keys: &Keys, job: JobId) -> anyhow::Result<Moved> {
        let Some(mut to_move) = log_objects::begin(&self.db, job).await? else { return Ok(Moved::Nothing) };
        let (mut raw, mut packed) = (0, 0);
        for (number, length) in to_move.attempts {
            let attempt = AttemptId { job, number };
            let object = self.write_object(keys.log(attempt), attempt, length).await?;
            let same = log_objects::moved(&mut to_move.tx, attempt, &object).await?;
            ensure!(same, "the log of job {job} changed while it was moved");
            raw += object.length.cast_unsigned();
            packed += object.size.cast_unsigned();
        }
        log_objects::all_moved(&mut to_move.tx, job, to_move.last).await?;
        to_move.tx.commit().await?;
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

    /// Writes a log into an object. Returns its size, and the offset of each frame in it.
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
                // A copy, because the compressor's buffer has room for incompressible text, and the object would keep
                // all of it.
                object.write(Bytes::copy_from_slice(&packed)).await?;
            }
            held.drain(..whole);
        }
        Ok((size, frames))
    }
}
