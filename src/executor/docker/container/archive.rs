//! The upload into a container before it starts, as one tar stream.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::Stream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Size of the pieces of the stream: few system calls, little memory.
const PIECE: usize = 256 * 1024;

/// Files for a container's file system, all owned by root.
#[derive(Debug, Default)]
pub struct Upload {
    folders: Vec<(PathBuf, String)>,
    files: Vec<(String, Vec<u8>, u32)>,
    last: Option<String>,
}

impl Upload {
    /// Adds everything in `folder` of this machine under the absolute path `target`.
    pub fn folder(mut self, folder: PathBuf, target: &str) -> Self {
        self.folders.push((folder, target.trim_start_matches('/').to_owned()));
        self
    }

    /// Adds one file at the absolute path `target` with these permissions.
    pub fn file(mut self, target: &str, contents: Vec<u8>, mode: u32) -> Self {
        self.files.push((target.trim_start_matches('/').to_owned(), contents, mode));
        self
    }

    /// Adds an empty file at the absolute path `target`, which appears when all other files are there.
    pub fn last_file(mut self, target: &str) -> Self {
        self.last = Some(target.trim_start_matches('/').to_owned());
        self
    }

    /// Returns the tar stream, to be extracted at `/`. It is made as fast as it is read.
    pub fn into_stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        let (sender, receiver) = mpsc::channel(4);
        let errors = sender.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = self.write(Pieces { sender, piece: Vec::with_capacity(PIECE) }) {
                // A closed channel means that the reader is gone, so the error is not needed.
                let _ = errors.blocking_send(Err(error));
            }
        });
        ReceiverStream::new(receiver)
    }

    fn write(self, pieces: Pieces) -> io::Result<()> {
        let mut tar = tar::Builder::new(pieces);
        for (target, contents, mode) in &self.files {
            let mut header = header(tar::EntryType::Regular, *mode);
            header.set_size(contents.len() as u64);
            tar.append_data(&mut header, target, contents.as_slice())?;
        }
        for (folder, target) in &self.folders {
            tar.append_data(&mut header(tar::EntryType::Directory, 0o755), target, io::empty())?;
            append_folder(&mut tar, folder, Path::new(target))?;
        }
        if let Some(target) = &self.last {
            tar.append_data(&mut header(tar::EntryType::Regular, 0o644), target, io::empty())?;
        }
        tar.into_inner()?.flush()
    }
}

fn header(kind: tar::EntryType, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    header
}

fn append_folder(tar: &mut tar::Builder<Pieces>, folder: &Path, target: &Path) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let target = target.join(entry.file_name());
        let metadata = entry.metadata()?;
        let kind = metadata.file_type();
        let with_time = |mut header: tar::Header| {
            header.set_mtime(u64::try_from(metadata.mtime()).unwrap_or_default());
            header
        };
        if kind.is_symlink() {
            let mut header = with_time(header(tar::EntryType::Symlink, 0o777));
            tar.append_link(&mut header, &target, std::fs::read_link(&path)?)?;
        } else if kind.is_dir() {
            tar.append_data(&mut with_time(header(tar::EntryType::Directory, 0o755)), &target, io::empty())?;
            append_folder(tar, &path, &target)?;
        } else if kind.is_file() {
            let mode = if metadata.mode() & 0o111 == 0 { 0o644 } else { 0o755 };
            let mut header = with_time(header(tar::EntryType::Regular, mode));
            header.set_size(metadata.len());
            tar.append_data(&mut header, &target, std::fs::File::open(&path)?)?;
        }
    }
    Ok(())
}

/// Turns a reader into a stream. The reader is read as fast as the stream is.
pub fn stream_of(mut reader: impl Read + Send + 'static) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let (sender, receiver) = mpsc::channel(4);
    tokio::task::spawn_blocking(move || {
        loop {
            let mut piece = Vec::with_capacity(PIECE);
            let read = reader.by_ref().take(PIECE as u64).read_to_end(&mut piece);
            let is_last = !matches!(read, Ok(1..));
            if read.is_ok() && is_last {
                return;
            }
            // A closed channel means that the rest is not needed.
            if sender.blocking_send(read.map(|_| piece.into())).is_err() || is_last {
                return;
            }
        }
    });
    ReceiverStream::new(receiver)
}

/// A writer that collects small writes into pieces for the stream.
struct Pieces {
    sender: mpsc::Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        self.sender.blocking_send(Ok(piece.into())).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
