//! A file that comes in parts: how much of each part is there, and the bytes on their way into it.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::InputError;

/// Size of a part of a file.
pub(super) const PART: u64 = 32 << 20;
/// Number of bytes that are written at once.
const PIECE: usize = 1 << 20;

/// A partial file that several connections fill.
pub(super) struct Partial {
    pub(super) file: Arc<File>,
    pub(super) size: u64,
    pub(super) mark: Option<String>,
    pub(super) have: Vec<AtomicU64>,
    /// Rings when bytes were written.
    pub(super) written: Notify,
}

impl Partial {
    /// Returns the range of a part that is missing.
    pub(super) fn missing(&self, part: usize) -> Range<u64> {
        let begin = part as u64 * PART;
        begin + self.have[part].load(Ordering::Acquire)..begin + length(self.size, part)
    }

    /// Returns the number of bytes from the beginning on that are there.
    pub(super) fn complete(&self) -> u64 {
        let first = (0..self.have.len()).map(|part| self.missing(part)).find(|missing| !missing.is_empty());
        first.map_or(self.size, |missing| missing.start)
    }

    pub(super) fn total(&self) -> u64 {
        self.have.iter().map(|have| have.load(Ordering::Acquire)).sum()
    }
}

/// Returns the length of a part.
pub(super) fn length(size: u64, part: usize) -> u64 {
    size.saturating_sub(part as u64 * PART).min(PART)
}

/// Bytes on their way into a file. One piece is written while the next one comes.
pub(super) struct Writer<'a> {
    file: &'a Arc<File>,
    at: u64,
    piece: Vec<u8>,
    writing: Option<JoinHandle<io::Result<usize>>>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(file: &'a Arc<File>, at: u64) -> Self {
        Self { file, at, piece: Vec::with_capacity(PIECE), writing: None }
    }

    /// Takes bytes. Returns the number of those that were written since the last call.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<u64, InputError> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() < PIECE { Ok(0) } else { self.begin().await }
    }

    async fn begin(&mut self) -> Result<u64, InputError> {
        let written = self.wait().await?;
        let (file, at) = (Arc::clone(self.file), self.at);
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        self.at += piece.len() as u64;
        let write = move || file.write_all_at(&piece, at).map(|()| piece.len());
        self.writing = Some(tokio::task::spawn_blocking(write));
        Ok(written)
    }

    async fn wait(&mut self) -> Result<u64, InputError> {
        match self.writing.take() {
            Some(writing) => Ok(writing.await.context("writing")?? as u64),
            None => Ok(0),
        }
    }

    /// Writes the rest, and returns the number of bytes that were written since the last call.
    pub(super) async fn finish(mut self) -> Result<u64, InputError> {
        Ok(self.begin().await? + self.wait().await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_end_with_the_file() {
        assert_eq!((length(PART * 2 + 5, 0), length(PART * 2 + 5, 2), length(PART * 2 + 5, 3)), (PART, 5, 0));
        let have = [PART, 7, 0].map(AtomicU64::new).into();
        let file = Arc::new(tempfile::tempfile().unwrap());
        let partial = Partial { file, size: PART * 2 + 5, mark: None, have, written: Notify::new() };
        assert_eq!((partial.complete(), partial.total()), (PART + 7, PART + 7));
        assert_eq!(partial.missing(1), PART + 7..PART * 2);
        partial.have[1].store(PART, Ordering::Release);
        assert_eq!(partial.complete(), PART * 2);
        partial.have[2].store(5, Ordering::Release);
        assert_eq!(partial.complete(), PART * 2 + 5);
    }
}
