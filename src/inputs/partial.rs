//! A file that comes in parts: how much of each part is there, and the bytes on their way into it.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use bytes::Bytes;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::InputError;

/// Size of a part of a file.
pub(super) const PART: u64 = 32 << 20;
/// Number of bytes that are written at once.
const PIECE: usize = 1 << 20;
/// Number of bytes from which on the hash reads what was written. Fewer come as a piece.
const MIN_READ: u64 = 4 << 20;
/// Maximum number of bytes that the hash reads at once. The next ones may come as pieces meanwhile.
const MAX_READ: u64 = 64 << 20;
/// Number of pieces on their way to the hash. A connection that is faster than the hash waits.
const PIECES: usize = 1;

/// A partial file that several connections fill.
pub(super) struct Partial {
    pub(super) file: Arc<File>,
    pub(super) size: u64,
    pub(super) mark: Option<String>,
    pub(super) have: Vec<AtomicU64>,
    /// Rings when bytes were written.
    pub(super) written: Notify,
    /// A permit for each connection that may be open.
    pub(super) connections: Semaphore,
    /// End of the bytes that the hash has, or has been given.
    hashed: AtomicU64,
    for_hash: mpsc::Sender<Piece>,
}

/// Bytes that are in their place in a file.
pub(super) struct Piece {
    at: u64,
    pub(super) bytes: Vec<Bytes>,
}

impl Piece {
    pub(super) fn length(&self) -> u64 {
        self.bytes.iter().map(|bytes| bytes.len() as u64).sum()
    }
}

impl Partial {
    /// Makes it from a file and the number of bytes of each part that are there. Also returns the pieces for the hash, which
    /// come in order.
    pub(super) fn new(file: File, size: u64, mark: Option<String>, have: Vec<u64>) -> (Self, mpsc::Receiver<Piece>) {
        let (for_hash, pieces) = mpsc::channel(PIECES);
        let partial = Self {
            file: Arc::new(file),
            size,
            mark,
            have: have.into_iter().map(AtomicU64::new).collect(),
            written: Notify::new(),
            connections: Semaphore::new(1),
            hashed: AtomicU64::new(0),
            for_hash,
        };
        (partial, pieces)
    }

    /// Notes that a piece of a part was written. The hash gets it while it is in memory, if it is the next one.
    pub(super) async fn record(&self, part: usize, piece: Piece) {
        let (at, length) = (piece.at, piece.length());
        self.have[part].fetch_add(length, Ordering::Release);
        self.written.notify_one();
        if self.claim(at..at + length) {
            // Without a hash, the download has ended.
            let _ = self.for_hash.send(piece).await;
        }
    }

    /// Takes the next bytes for the hash. Returns false if these are not the next ones.
    fn claim(&self, range: Range<u64>) -> bool {
        self.hashed.compare_exchange(range.start, range.end, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Returns the bytes from here on that the hash must read from the file, because no piece of them comes.
    pub(super) fn claim_written(&self, at: u64) -> Option<Range<u64>> {
        let to = self.complete().min(at + MAX_READ);
        let is_worth_it = to - at >= MIN_READ || to == self.size;
        (is_worth_it && self.claim(at..to)).then_some(at..to)
    }

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
    piece: Piece,
    writing: Option<JoinHandle<io::Result<Piece>>>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(file: &'a Arc<File>, at: u64) -> Self {
        Self { file, piece: Piece { at, bytes: Vec::new() }, writing: None }
    }

    /// Takes bytes. Returns the piece that was written since the last call.
    pub(super) async fn write(&mut self, bytes: Bytes) -> Result<Option<Piece>, InputError> {
        self.piece.bytes.push(bytes);
        if self.piece.length() < PIECE as u64 { Ok(None) } else { self.begin().await }
    }

    async fn begin(&mut self) -> Result<Option<Piece>, InputError> {
        let written = self.wait().await?;
        let next = Piece { at: self.piece.at + self.piece.length(), bytes: Vec::new() };
        let (file, piece) = (Arc::clone(self.file), std::mem::replace(&mut self.piece, next));
        let write = move || {
            let mut at = piece.at;
            for bytes in &piece.bytes {
                file.write_all_at(bytes, at)?;
                at += bytes.len() as u64;
            }
            Ok(piece)
        };
        self.writing = Some(tokio::task::spawn_blocking(write));
        Ok(written)
    }

    async fn wait(&mut self) -> Result<Option<Piece>, InputError> {
        match self.writing.take() {
            Some(writing) => Ok(Some(writing.await.context("writing")??)),
            None => Ok(None),
        }
    }

    /// Writes the rest, and returns the pieces that were written since the last call.
    pub(super) async fn finish(mut self) -> Result<impl Iterator<Item = Piece>, InputError> {
        Ok([self.begin().await?, self.wait().await?].into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_end_with_the_file() {
        assert_eq!((length(PART * 2 + 5, 0), length(PART * 2 + 5, 2), length(PART * 2 + 5, 3)), (PART, 5, 0));
        let (partial, _) = Partial::new(tempfile::tempfile().unwrap(), PART * 2 + 5, None, vec![PART, 7, 0]);
        assert_eq!((partial.complete(), partial.total()), (PART + 7, PART + 7));
        assert_eq!(partial.missing(1), PART + 7..PART * 2);
        partial.have[1].store(PART, Ordering::Release);
        assert_eq!(partial.complete(), PART * 2);
        partial.have[2].store(5, Ordering::Release);
        assert_eq!(partial.complete(), PART * 2 + 5);
    }

    #[tokio::test]
    async fn the_hash_gets_each_byte_once_as_a_piece_or_from_the_file() {
        let (partial, mut pieces) = Partial::new(tempfile::tempfile().unwrap(), PART * 2, None, vec![0, 0]);
        let piece = |at, length| Piece { at, bytes: vec![vec![0; length].into()] };
        partial.record(1, piece(PART, 8 << 20)).await;
        assert!(pieces.try_recv().is_err(), "it is not the next one");
        partial.record(0, piece(0, 1000)).await;
        assert_eq!(pieces.try_recv().unwrap().length(), 1000);
        assert_eq!(partial.claim_written(1000), None);
        partial.have[0].store(PART, Ordering::Release);
        assert_eq!(partial.claim_written(1000), Some(1000..PART + (8 << 20)));
        partial.record(1, piece(PART + (8 << 20), 1000)).await;
        assert_eq!(pieces.try_recv().unwrap().length(), 1000);
    }
}
