//! The hashes of a file.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// Number of bytes that are read at once.
const PIECE: usize = 256 << 10;

/// The hashes of a file of known size, while it is read from its beginning.
pub(super) struct Hashes {
    sha256: Sha256,
    /// The id of a file in git has its size in front.
    git: Option<Sha1>,
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
            self.sha256.update(&piece[..read]);
            if let Some(git) = &mut self.git {
                git.update(&piece[..read]);
            }
            at += read as u64;
        }
        Ok(())
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
