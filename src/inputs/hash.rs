//! The hashes of a file, also while it comes.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::InputError;
use super::partial::{Partial, Piece};

/// Number of bytes that are read at once.
const PIECE: usize = 256 << 10;
/// The hash waits for bytes, and bytes wait for the hash. Once the hash has waited this much longer, one more connection is
/// opened.
const PATIENCE: Duration = Duration::from_millis(100);
/// Number of pieces that wait for the hash, so that it never waits for them.
const AHEAD: usize = 4;

/// The hashes of a file of known size, while it is read from its beginning.
pub(super) struct Hashes {
    sha256: Sha256,
    /// The id of a file in git has its size in front.
    git: Option<Sha1>,
}

/// The next bytes of a file that comes.
enum Next {
    Piece(Piece),
    Written(Range<u64>),
}

impl Next {
    fn length(&self) -> u64 {
        match self {
            Self::Piece(piece) => piece.length(),
            Self::Written(range) => range.end - range.start,
        }
    }
}

impl Hashes {
    /// Begins. The size is needed for the id in git alone.
    pub(super) fn new(git_size: Option<u64>) -> Self {
        let git = git_size.map(|size| Sha1::new().chain_update(format!("blob {size}\0")));
        Self { sha256: Sha256::new(), git }
    }

    /// Adds a part of a file. Blocks.
    pub(super) fn add(&mut self, file: &File, range: Range<u64>) -> io::Result<()> {
        let mut piece = vec![0; PIECE];
        let mut at = range.start;
        while at < range.end {
            let most = usize::try_from(range.end - at).unwrap_or(usize::MAX).min(PIECE);
            let read = file.read_at(&mut piece[..most], at)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.update(&piece[..read]);
            at += read as u64;
        }
        Ok(())
    }

    fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        if let Some(git) = &mut self.git {
            git.update(bytes);
        }
    }

    /// Adds a file that comes, until it is complete. On a fast network the hash is the slowest step; on a slow one it
    /// waits, and allows more connections.
    pub(super) async fn follow(self, partial: &Partial, mut pieces: mpsc::Receiver<Piece>) -> Result<Self, InputError> {
        let (to_hash, bytes) = mpsc::channel(AHEAD);
        let file = Arc::clone(&partial.file);
        let hashing = tokio::task::spawn_blocking(move || self.add_all(&file, bytes));
        let (mut at, mut waited) = (0, Duration::ZERO);
        while at < partial.size {
            let begun = Instant::now();
            let next = match partial.claim_written(at) {
                Some(range) => Some(Next::Written(range)),
                None => tokio::select! {
                    piece = pieces.recv() => piece.map(Next::Piece),
                    () = partial.written.notified() => None,
                    () = tokio::time::sleep(PATIENCE) => None,
                },
            };
            waited += begun.elapsed();
            if waited >= PATIENCE {
                waited = Duration::ZERO;
                partial.connections.add_permits(1);
            }
            let Some(next) = next else { continue };
            at += next.length();
            let begun = Instant::now();
            if to_hash.send(next).await.is_err() {
                break;
            }
            waited = waited.saturating_sub(begun.elapsed());
        }
        drop(to_hash);
        let hashes = hashing.await.context("hashing")??;
        // A connection that was not needed ends.
        partial.connections.close();
        Ok(hashes)
    }

    /// Adds bytes until no more come. Blocks.
    fn add_all(mut self, file: &File, mut bytes: mpsc::Receiver<Next>) -> io::Result<Self> {
        while let Some(next) = bytes.blocking_recv() {
            match next {
                Next::Piece(piece) => piece.bytes.iter().for_each(|bytes| self.update(bytes)),
                Next::Written(range) => self.add(file, range)?,
            }
        }
        Ok(self)
    }

    /// Returns the SHA-256, and the id in git if that was asked for.
    pub(super) fn finish(self) -> (String, Option<String>) {
        (hex::encode(self.sha256.finalize()), self.git.map(|git| hex::encode(git.finalize())))
    }
}

/// Returns the SHA-256 of a file, and its size. Blocks.
pub(super) fn sha256_of(file: &File) -> io::Result<(String, u64)> {
    let size = file.metadata()?.len();
    let mut hashes = Hashes::new(None);
    hashes.add(file, 0..size)?;
    Ok((hashes.finish().0, size))
}
