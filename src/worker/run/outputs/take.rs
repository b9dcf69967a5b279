//! The way of a container's files from the engine's tar into objects.

use std::collections::HashSet;
use std::io::Read;
use std::path::{Component, Path};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use bytesize::ByteSize;
use sha2::{Digest as _, Sha256};
use tokio::runtime::Handle;

use super::Origin;
use crate::domain::AttemptId;
use crate::storage::{Keys, Objects};
use crate::store::output::artifacts::NewArtifact;

/// The limits of one job: files that are kept, entries of tars that are read, and bytes of tars.
const MOST_FILES: usize = 1000;
const MOST_ENTRIES: usize = 50_000;
const MOST_BYTES: u64 = 64 << 30;
/// The longest name of a file, in bytes.
const MOST_NAME: usize = 500;
/// Number of bytes of a file that are in memory at a time, besides those that the object gathers.
const PIECE: usize = 256 * 1024;

/// The artifacts of a job that were stored so far.
pub(super) struct Taken {
    objects: Objects,
    keys: Keys,
    origin: Origin,
    attempt: AttemptId,
    limit: ByteSize,
    room: u64,
    entries: usize,
    names: HashSet<String>,
    folders: Vec<&'static str>,
    pub(super) artifacts: Vec<NewArtifact>,
    left_out: usize,
    /// Reason why the first of these files was left out.
    why: Option<String>,
}

impl Taken {
    /// Begins without artifacts. `limit` is the size of all of them together.
    pub(super) fn new(objects: Objects, keys: Keys, origin: Origin, attempt: AttemptId, limit: ByteSize) -> Self {
        Self {
            objects,
            keys,
            origin,
            attempt,
            limit,
            room: limit.as_u64(),
            entries: 0,
            names: HashSet::new(),
            folders: Vec::new(),
            artifacts: Vec::new(),
            left_out: 0,
            why: None,
        }
    }

    /// Keeps a name free: a file of the job that has it is not stored.
    pub(super) fn reserve(&mut self, name: &str) {
        self.names.insert(name.to_owned());
    }

    /// Keeps a folder free, as [`Taken::reserve`] does a name.
    pub(super) fn reserve_folder(&mut self, name: &'static str) {
        self.folders.push(name);
    }

    /// Stores a file of our own under a name. Blocks.
    pub(super) fn add(&mut self, name: &str, mut bytes: &[u8]) -> anyhow::Result<()> {
        self.store(name.to_owned(), bytes.len() as u64, &mut bytes)
    }

    /// Stores the regular files of the engine's tar of `path`, an absolute path. Each name in the tar begins with the
    /// last part of `path`. Links are ignored. Blocks.
    pub(super) fn take(&mut self, base: &Path, path: &str, tar: impl Read) -> anyhow::Result<()> {
        let parent = Path::new(path).parent().unwrap_or(Path::new("/"));
        let mut archive = tar::Archive::new(tar.take(MOST_BYTES));
        for entry in archive.entries()? {
            let mut entry = entry.context("reading the container's files")?;
            self.entries += 1;
            ensure!(self.entries <= MOST_ENTRIES, "there are more than {MOST_ENTRIES} files and folders");
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let size = entry.size();
            let Some(name) = name_of(base, parent, &entry.path()?) else {
                self.leave_out(format!(
                    "a name is longer than {MOST_NAME} bytes, or has characters that are not allowed"
                ));
                continue;
            };
            let is_ours = self.folders.iter().any(|folder| Path::new(&name).starts_with(folder));
            if is_ours || self.names.contains(&name) {
                continue;
            }
            if self.artifacts.len() >= MOST_FILES {
                self.leave_out(format!("at most {MOST_FILES} files are kept of a job"));
            } else if size > self.room {
                self.leave_out(format!("the artifacts of a job may have {} in all (limits.artifacts)", self.limit));
            } else {
                self.store(name, size, &mut entry)?;
            }
        }
        Ok(())
    }

    fn store(&mut self, name: String, size: u64, contents: &mut impl Read) -> anyhow::Result<()> {
        let key = self.keys.artifact(self.origin.repo, self.origin.is_fork, self.attempt, &name);
        let mut object = self.objects.begin(&key);
        let mut digest = Sha256::new();
        let runtime = Handle::current();
        let mut write = || -> anyhow::Result<u64> {
            let mut written = 0;
            loop {
                let mut piece = Vec::with_capacity(PIECE);
                contents
                    .by_ref()
                    .take(PIECE as u64)
                    .read_to_end(&mut piece)
                    .context("reading the container's files")?;
                if piece.is_empty() {
                    return Ok(written);
                }
                digest.update(&piece);
                written += piece.len() as u64;
                runtime.block_on(object.write(Bytes::from(piece)))?;
            }
        };
        let written = match write() {
            Ok(written) if written == size => written,
            outcome => {
                runtime.block_on(object.abort());
                outcome?;
                anyhow::bail!("the engine's tar ends in the middle of a file");
            }
        };
        runtime.block_on(object.finish())?;
        self.room = self.room.saturating_sub(written);
        self.names.insert(name.clone());
        self.artifacts.push(NewArtifact { path: name, key, size: written, sha256: digest.finalize().into() });
        Ok(())
    }

    pub(super) fn leave_out(&mut self, why: String) {
        self.left_out += 1;
        self.why.get_or_insert(why);
    }

    /// Describes the artifacts for the log, without names: those may contain what the log hides.
    pub(super) fn in_words(&self) -> String {
        let mut words = String::new();
        let files = |count: usize| if count == 1 { "1 artifact".to_owned() } else { format!("{count} artifacts") };
        if !self.artifacts.is_empty() {
            let size = ByteSize::b(self.artifacts.iter().map(|artifact| artifact.size).sum());
            words.push_str(&format!("\nStored {} ({size}).\n", files(self.artifacts.len())));
        }
        if let Some(why) = &self.why {
            words.push_str(&format!("\nNot stored: {}, since {why}.\n", files(self.left_out)));
        }
        words
    }
}

/// Returns the name of a file of a tar as its author knows it: relative to `base`, or the whole path when the file is
/// outside. `None` when the name is not safe on a page or in an address.
fn name_of(base: &Path, parent: &Path, inner: &Path) -> Option<String> {
    let mut path = parent.to_owned();
    for component in inner.components() {
        match component {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            _ => return None,
        }
    }
    let name = path.strip_prefix(base).unwrap_or(&path).to_str()?.trim_start_matches('/');
    let is_plain =
        |c: char| !c.is_control() && !('\u{202a}'..='\u{202e}').contains(&c) && !('\u{2066}'..='\u{2069}').contains(&c);
    (!name.is_empty()
        && name.len() <= MOST_NAME
        && name.split('/').all(|part| part != "..")
        && name.chars().all(is_plain))
    .then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::domain::{JobId, RepoId};
    use crate::storage::StorageConfig;

    fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, contents) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(contents.len() as u64);
            header.set_mode(0o644);
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            builder.append(&header, *contents).unwrap();
        }
        let mut link = tar::Header::new_gnu();
        link.set_entry_type(tar::EntryType::Symlink);
        link.set_size(0);
        builder.append_link(&mut link, "out/link", "/etc/passwd").unwrap();
        builder.into_inner().unwrap()
    }

    fn taken(folder: &Path, limit: u64) -> Taken {
        let objects = Objects::open(&StorageConfig::default(), folder).unwrap();
        let origin = Origin { repo: RepoId(7), is_fork: true };
        Taken::new(
            objects,
            Keys { instance: "x".to_owned() },
            origin,
            AttemptId { job: JobId(3), number: 1 },
            ByteSize::b(limit),
        )
    }

    async fn take(mut taken: Taken, tar: Vec<u8>) -> (Taken, anyhow::Result<()>) {
        let take = move || {
            let outcome = taken.take(Path::new("/build"), "/build/out", tar.as_slice());
            (taken, outcome)
        };
        tokio::task::spawn_blocking(take).await.unwrap()
    }

    #[tokio::test]
    async fn files_are_kept_under_keys_of_our_own_and_a_hostile_tar_writes_nothing_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let (taken, outcome) = take(
            taken(folder.path(), 100),
            tar(&[
                ("out/a.txt", b"a"),
                ("out/../../x", b"x"),
                ("/etc/y", b"y"),
                ("out/n\nl", b"n"),
                ("out/a.txt", b"again"),
            ]),
        )
        .await;
        outcome.unwrap();
        assert_eq!(taken.artifacts.len(), 1);
        let artifact = &taken.artifacts[0];
        assert_eq!((artifact.path.as_str(), artifact.size), ("out/a.txt", 1));
        assert_eq!(hex::encode(artifact.sha256), hex::encode(Sha256::digest("a")));
        assert!(artifact.key.starts_with("x/artifacts/forks/7/3-1/"), "{}", artifact.key);
        assert!(
            taken.in_words().contains("Stored 1 artifact (1 B).")
                && taken.in_words().contains("Not stored: 3 artifacts")
        );
        let files = walk(folder.path());
        assert_eq!(files, [folder.path().join("objects").join(&artifact.key)]);
    }

    fn walk(folder: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
    }

    #[tokio::test]
    async fn what_is_too_large_is_left_out_and_a_tar_that_breaks_off_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (taken, _) = take(taken(folder.path(), 5), tar(&[("out/big", b"123456"), ("out/small", b"12345")])).await;
        let names: Vec<&str> = taken.artifacts.iter().map(|artifact| artifact.path.as_str()).collect();
        assert_eq!(names, ["out/small"]);
        assert!(
            taken.in_words().contains("since the artifacts of a job may have 5 B in all (limits.artifacts)"),
            "{}",
            taken.in_words()
        );

        let folder = tempfile::tempdir().unwrap();
        let mut cut = tar(&[("out/a", &[b'a'; 2000])]);
        cut.truncate(1024);
        let (_, outcome) = take(self::taken(folder.path(), 10_000), cut).await;
        assert!(outcome.is_err());
        assert_eq!(walk(folder.path()), Vec::<PathBuf>::new());
    }

    #[test]
    fn names_start_at_their_base() {
        let name =
            |base: &str, parent: &str, inner: &str| name_of(Path::new(base), Path::new(parent), Path::new(inner));
        assert_eq!(name("/b", "/b", "out/x").as_deref(), Some("out/x"));
        assert_eq!(name("/b/out", "/b", "out/x").as_deref(), Some("x"));
        assert_eq!(name("/b", "/home/u", "y").as_deref(), Some("home/u/y"));
        assert_eq!(name("/b", "/b/../c", "y"), None);
        for hostile in ["../x", "/x", "a/../b", "a\u{202e}b", "a\nb", "\u{1b}[2J"] {
            assert_eq!(name("/b", "/b", hostile), None, "{hostile:?}");
        }
    }
}
