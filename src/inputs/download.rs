//! The download of one file: in parts over several connections where the server can, and from where it was cut.
//!
//! A part goes into its place in a partial file. A small file beside it says how much of each part is there, so that also
//! the next process goes on from there. The hash follows the bytes that are complete from the beginning on.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use bytesize::ByteSize;
use futures::future::{try_join, try_join_all};
use http::header::{CONTENT_RANGE, ETAG, LAST_MODIFIED};
use http::{HeaderMap, StatusCode};
use reqwest::Response;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, mpsc};

use super::hash::Hashes;
use super::partial::{PART, Partial, Piece, Writer, length};
use super::remote::Remote;
use super::web::failure;
use super::{InputError, Progress};
use crate::storage::Room;

/// Maximum number of connections for one file.
const CONNECTIONS: usize = 4;
/// Number of failures in a row, without a byte between them, after which a download ends.
const MAX_FAILURES: u32 = 8;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// Interval at which the progress is saved, and the disk looked at.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);

/// The facts about a file that are known before it is fetched.
#[derive(Debug, Clone, Default)]
pub(super) struct Expected {
    /// Name, for messages.
    pub(super) path: String,
    pub(super) size: Option<u64>,
    pub(super) sha256: Option<String>,
    pub(super) git_oid: Option<String>,
}

/// Bounds on what is fetched.
#[derive(Debug, Clone)]
pub(super) struct Bounds {
    pub(super) room: Room,
    pub(super) folder: PathBuf,
    /// Maximum size of a file.
    pub(super) max_size: ByteSize,
    /// Connections of all downloads of the process. Each needs a few megabytes of memory.
    pub(super) connections: Arc<Semaphore>,
}

/// A download of one file.
pub(super) struct Download<'a> {
    pub(super) remote: &'a Remote,
    pub(super) expected: &'a Expected,
    /// Path of the partial file.
    pub(super) partial: PathBuf,
    pub(super) bounds: &'a Bounds,
    pub(super) progress: &'a Progress,
}

/// A complete file, still at the path of the partial one.
#[derive(Debug)]
pub(super) struct Downloaded {
    pub(super) sha256: String,
    pub(super) size: u64,
}

/// The state of a partial file, as it is stored beside it.
#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    size: u64,
    /// Mark of the version on the server.
    mark: Option<String>,
    /// Number of bytes of each part that are there.
    have: Vec<u64>,
}

/// The answer to the first request.
enum Begun {
    Parts(Partial, mpsc::Receiver<Piece>, Response),
    /// The server sends the whole file, whatever part is asked for.
    Whole(Response),
    Empty,
}

impl Download<'_> {
    /// Fetches the file.
    pub(super) async fn run(&self) -> Result<Downloaded, InputError> {
        let is_resumed = self.saved().is_some();
        match self.attempt().await {
            // Another version is fetched from its beginning. What an earlier process has left may be broken, too.
            Err(InputError::Changed) => {}
            Err(InputError::Checksum { .. }) if is_resumed => {}
            ended => return ended,
        }
        self.forget()?;
        self.attempt().await
    }

    async fn attempt(&self) -> Result<Downloaded, InputError> {
        if self.expected.size == Some(0) {
            self.open(0)?;
            return self.check(self.hashes(0), 0);
        }
        let (partial, pieces, first) = match self.saved() {
            Some(saved) => {
                self.progress.add(saved.have.iter().sum());
                let file = self.open(saved.size)?;
                let (partial, pieces) = Partial::new(file, saved.size, saved.mark, saved.have);
                (partial, pieces, None)
            }
            None => match self.begin().await? {
                Begun::Parts(partial, pieces, first) => (partial, pieces, Some(first)),
                Begun::Whole(response) => return self.whole(response).await,
                Begun::Empty => {
                    self.open(0)?;
                    return self.check(self.hashes(0), 0);
                }
            },
        };
        if self.expected.size.is_none() {
            self.progress.is_of(partial.size);
        }
        let hashes = self.hashes(partial.size);
        let fetched = tokio::select! {
            fetched = try_join(self.parts(&partial, first), hashes.follow(&partial, pieces)) => fetched,
            error = self.keep(&partial) => Err(error),
        };
        match fetched {
            Ok(((), hashes)) => {
                let _ = std::fs::remove_file(self.beside());
                self.check(hashes, partial.size)
            }
            Err(error) => {
                self.save(&partial)?;
                if matches!(error, InputError::Changed) {
                    self.progress.take_back(partial.total());
                }
                Err(error)
            }
        }
    }

    /// Asks for the first part, which shows what the server can.
    async fn begin(&self) -> Result<Begun, InputError> {
        let first = 0..self.expected.size.unwrap_or(PART).min(PART);
        let response = patiently(self.progress, || self.remote.read(&first, None)).await?;
        let headers = response.headers();
        match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let range = content_range(headers).filter(|(at, _)| *at == 0);
                let (_, size) = range.ok_or_else(|| InputError::Refused("it answers with another part".to_owned()))?;
                self.check_size(size)?;
                let have = (0..size.div_ceil(PART)).map(|_| 0).collect();
                let (partial, pieces) = Partial::new(self.open(size)?, size, mark(headers), have);
                Ok(Begun::Parts(partial, pieces, response))
            }
            StatusCode::RANGE_NOT_SATISFIABLE => Ok(Begun::Empty),
            _ => {
                response.content_length().map_or(Ok(()), |size| self.check_size(size))?;
                Ok(Begun::Whole(response))
            }
        }
    }

    /// Rejects a file that is too large, for the server's settings or for the disk.
    fn check_size(&self, size: u64) -> Result<(), InputError> {
        let Bounds { room, folder, max_size, .. } = self.bounds;
        if self.expected.size.is_some_and(|expected| expected != size) {
            return Err(InputError::Refused(format!("{} has another size than is listed", self.expected.path)));
        }
        if size > max_size.as_u64() {
            return Err(InputError::too_large(size, *max_size));
        }
        match room.has_for_at(folder, ByteSize::b(size))? {
            true => Ok(()),
            false => Err(InputError::DiskFull(format!("there is no room for {}", ByteSize::b(size)))),
        }
    }

    async fn parts(&self, partial: &Partial, first: Option<Response>) -> Result<(), InputError> {
        let next = AtomicUsize::new(usize::from(first.is_some()));
        let mut first = first;
        let connection = |first: Option<Response>| {
            let next = &next;
            async move {
                // No permit comes when the file is complete.
                let Ok(_permit) = partial.connections.acquire().await else { return Ok(()) };
                if first.is_some() {
                    self.part(partial, 0, first).await?;
                }
                loop {
                    let part = next.fetch_add(1, Ordering::Relaxed);
                    if part >= partial.have.len() {
                        return Ok(());
                    }
                    self.part(partial, part, None).await?;
                }
            }
        };
        let connections = CONNECTIONS.min(partial.have.len());
        try_join_all((0..connections).map(|_| connection(first.take()))).await.map(drop)
    }

    /// Fetches what is missing of a part, and tries again after a failure.
    async fn part(&self, partial: &Partial, part: usize, mut first: Option<Response>) -> Result<(), InputError> {
        let mut failures = 0;
        loop {
            let missing = partial.missing(part);
            if missing.is_empty() {
                return Ok(());
            }
            let before = missing.start;
            let error = match self.stream(partial, part, missing, first.take()).await {
                Ok(()) => InputError::Away("the answer was too short".to_owned(), None),
                Err(error) => error,
            };
            let missing = partial.missing(part);
            if missing.is_empty() {
                return Ok(());
            }
            if missing.start > before {
                failures = 0;
            }
            failures += 1;
            self.pause(error, failures).await?;
        }
    }

    /// Reads a range of the file into its place.
    async fn stream(
        &self,
        partial: &Partial,
        part: usize,
        range: Range<u64>,
        first: Option<Response>,
    ) -> Result<(), InputError> {
        let _permit = self.bounds.connections.acquire().await.context("a connection")?;
        let mut response = match first {
            Some(response) => response,
            None => self.remote.read(&range, partial.mark.as_deref()).await?,
        };
        let is_it = response.status() == StatusCode::PARTIAL_CONTENT
            && content_range(response.headers()) == Some((range.start, partial.size));
        if !is_it {
            return Err(InputError::Changed);
        }
        let mut writer = Writer::new(&partial.file, range.start);
        let mut at = range.start;
        let cut = loop {
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    at += chunk.len() as u64;
                    if at > range.end {
                        return Err(InputError::Refused("it answers with more than was asked for".to_owned()));
                    }
                    if let Some(piece) = writer.write(chunk).await? {
                        self.record(partial, part, piece).await;
                    }
                }
                Ok(None) => break None,
                Err(error) => break Some(failure(&error)),
            }
        };
        for piece in writer.finish().await? {
            self.record(partial, part, piece).await;
        }
        cut.map_or(Ok(()), Err)
    }

    async fn record(&self, partial: &Partial, part: usize, piece: Piece) {
        self.progress.add(piece.length());
        partial.record(part, piece).await;
    }

    /// Saves the state, over and over. Returns when the disk has no room.
    async fn keep(&self, partial: &Partial) -> InputError {
        loop {
            tokio::time::sleep(SAVE_INTERVAL).await;
            if let Err(error) = self.save(partial) {
                return error;
            }
            match self.bounds.room.wanting_at(&self.bounds.folder) {
                Ok(None) => {}
                Ok(Some(wanting)) => return InputError::DiskFull(wanting),
                Err(error) => return InputError::System(error),
            }
        }
    }

    /// Fetches a file from a server that knows no parts. After a cut it begins anew.
    async fn whole(&self, first: Response) -> Result<Downloaded, InputError> {
        let mut response = Some(first);
        let mut failures = 0;
        loop {
            let file = Arc::new(self.open(0)?);
            let mut fetched = 0;
            match self.stream_whole(&file, response.take(), &mut fetched).await {
                Ok(()) => {
                    let mut hashes = self.hashes(fetched);
                    let hash = move || hashes.add(&file, 0..fetched).map(|()| hashes);
                    let hashes = tokio::task::spawn_blocking(hash).await.context("hashing")??;
                    return self.check(hashes, fetched);
                }
                Err(error) => {
                    self.progress.take_back(fetched);
                    failures += 1;
                    self.pause(error, failures).await?;
                }
            }
        }
    }

    async fn stream_whole(
        &self,
        file: &Arc<File>,
        first: Option<Response>,
        fetched: &mut u64,
    ) -> Result<(), InputError> {
        let _permit = self.bounds.connections.acquire().await.context("a connection")?;
        let mut response = match first {
            Some(response) => response,
            None => self.remote.read(&(0..PART), None).await?,
        };
        if response.status() != StatusCode::OK {
            return Err(InputError::Changed);
        }
        let Bounds { room, folder, max_size, .. } = self.bounds;
        let mut writer = Writer::new(file, 0);
        let mut looked = 0;
        while let Some(chunk) = response.chunk().await.map_err(|error| failure(&error))? {
            if let Some(piece) = writer.write(chunk).await? {
                *fetched += piece.length();
                self.progress.add(piece.length());
            }
            if *fetched > max_size.as_u64() {
                return Err(InputError::too_large(*fetched, *max_size));
            }
            if *fetched >= looked + PART {
                looked = *fetched;
                if let Some(wanting) = room.wanting_at(folder)? {
                    return Err(InputError::DiskFull(wanting));
                }
            }
        }
        for piece in writer.finish().await? {
            *fetched += piece.length();
            self.progress.add(piece.length());
        }
        Ok(())
    }

    /// Waits after a failure that may pass.
    ///
    /// # Errors
    /// Returns the failure if it will not, or after too many.
    async fn pause(&self, error: InputError, failures: u32) -> Result<(), InputError> {
        pause(self.progress, error, failures).await
    }

    fn hashes(&self, size: u64) -> Hashes {
        Hashes::new(self.expected.git_oid.is_some().then_some(size))
    }

    /// Compares the hashes with those that are expected.
    fn check(&self, hashes: Hashes, size: u64) -> Result<Downloaded, InputError> {
        let Expected { path, sha256: wanted, git_oid, size: expected } = self.expected;
        if expected.is_some_and(|expected| expected != size) {
            return Err(InputError::Changed);
        }
        let (sha256, git) = hashes.finish();
        let found = [(Some(&sha256), wanted, "SHA-256"), (git.as_ref(), git_oid, "git id")];
        for (found, wanted, name) in found {
            if let (Some(found), Some(wanted)) = (found, wanted)
                && found != wanted
            {
                let (found, wanted) = (format!("the {name} {found}"), wanted.clone());
                return Err(InputError::Checksum { path: path.clone(), found, wanted });
            }
        }
        Ok(Downloaded { sha256, size })
    }

    /// Opens the partial file, which gets this size.
    fn open(&self, size: u64) -> Result<File, InputError> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&self.partial)?;
        file.set_len(size)?;
        Ok(file)
    }

    fn beside(&self) -> PathBuf {
        self.partial.with_extension("json")
    }

    /// Reads the state that an earlier try has left, if it is of this file.
    fn saved(&self) -> Option<Saved> {
        let saved: Saved = serde_json::from_slice(&std::fs::read(self.beside()).ok()?).ok()?;
        let is_there = std::fs::metadata(&self.partial).is_ok_and(|facts| facts.len() == saved.size);
        let is_whole = |(part, have): (usize, &u64)| *have <= length(saved.size, part);
        // Without a mark, nobody knows whether the server still has the same version.
        let is_known = self.expected.sha256.is_some() || self.expected.git_oid.is_some() || saved.mark.is_some();
        let fits = self.expected.size.is_none_or(|size| size == saved.size)
            && saved.have.len() as u64 == saved.size.div_ceil(PART)
            && saved.have.iter().enumerate().all(is_whole);
        (is_there && is_known && fits).then_some(saved)
    }

    fn save(&self, partial: &Partial) -> Result<(), InputError> {
        let have = partial.have.iter().map(|have| have.load(Ordering::Acquire)).collect();
        let saved = Saved { size: partial.size, mark: partial.mark.clone(), have };
        Ok(replace(&self.beside(), &serde_json::to_vec(&saved).unwrap_or_default())?)
    }

    fn forget(&self) -> io::Result<()> {
        for path in [self.beside(), self.partial.clone()] {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Repeats a request while its failures may pass.
pub(super) async fn patiently<T, Asked: Future<Output = Result<T, InputError>>>(
    progress: &Progress,
    ask: impl Fn() -> Asked,
) -> Result<T, InputError> {
    for failures in 1.. {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) => pause(progress, error, failures).await?,
        }
    }
    unreachable!("the pause ends with an error")
}

/// Waits after a failure that may pass.
///
/// # Errors
/// Returns the failure if it will not pass, or after too many.
async fn pause(progress: &Progress, error: InputError, failures: u32) -> Result<(), InputError> {
    if !error.is_temporary() || failures > MAX_FAILURES {
        return Err(error);
    }
    progress.fails(error.to_string());
    let usual = FIRST_PAUSE * 2_u32.pow(failures.min(10) - 1);
    let asked = if let InputError::Away(_, wait) = error { wait } else { None };
    tokio::time::sleep(asked.unwrap_or(usual.min(MAX_PAUSE))).await;
    Ok(())
}

/// Writes a file in one step: a reader finds the old one or the new one.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    std::fs::write(&new, bytes)?;
    std::fs::rename(new, path)
}

/// Returns the first byte and the size of the file in an answer with a part.
fn content_range(headers: &HeaderMap) -> Option<(u64, u64)> {
    let range = headers.get(CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?;
    let (range, size) = range.split_once('/')?;
    Some((range.split_once('-')?.0.parse().ok()?, size.parse().ok()?))
}

/// Returns the mark of a version that a later request can name. A weak one is of no use for parts.
fn mark(headers: &HeaderMap) -> Option<String> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    text(ETAG).filter(|etag| etag.starts_with('"')).or_else(|| text(LAST_MODIFIED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_an_answer_has_its_place() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_RANGE, text.parse().unwrap());
            content_range(&headers)
        };
        assert_eq!(of("bytes 5-9/100"), Some((5, 100)));
        for wrong in ["bytes */100", "bytes 5-9/*", "5-9/100", "bytes 5"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }
}
