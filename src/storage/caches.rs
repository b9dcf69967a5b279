//! Caches of jobs: one file each, found by repository, ref and slug.
//!
//! `caches/REPO/HASH-OF-REF/HASH-OF-SLUG.DIGEST.2.tar.zst`. The names are hashes, since refs and slugs come from
//! outside. The folder of a fork's ref ends in `.fork`. A file is complete or absent: it is written elsewhere and then
//! renamed. Its modification time is the time of its last use.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use bytesize::ByteSize;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::repack::{Limits, Packer};
use crate::domain::RepoId;

/// The number is that of the rules for the content. Files of other rules are not read: the first ones held tokens.
const SUFFIX: &str = ".2.tar.zst";
const FORK: &str = "fork";
/// The most files, folders and links of a cache.
const MOST_ENTRIES: usize = 500_000;
/// Part of the total size that the caches of forks may have.
const FORKS_SHARE: u64 = 4;
const UNDER_WAY: &str = ".new";
/// Age of an unfinished file after which its writer counts as dead.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

/// `[cache]` of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CacheConfig {
    /// Maximum size of one job's cache, before compression.
    pub max_size: ByteSize,
    /// Maximum size of all caches on the disk. The least recently used ones are removed first.
    pub total_size: ByteSize,
    /// Time since the last use after which a cache is removed.
    #[serde(with = "humantime_serde")]
    pub max_age: Duration,
    pub forks: ForksRead,
}

/// The caches that pull requests from other repositories read, besides their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForksRead {
    None,
    /// The cache of the default branch.
    Default,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            max_size: ByteSize::gib(4),
            total_size: ByteSize::gib(50),
            max_age: Duration::from_secs(45 * 24 * 3600),
            forks: ForksRead::Default,
        }
    }
}

/// The caches of all repositories.
#[derive(Debug, Clone)]
pub struct Caches {
    folder: PathBuf,
    config: CacheConfig,
}

/// A cache that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cached {
    /// Ref that the cache belongs to.
    pub reference: String,
    /// Digest of the contents.
    pub digest: String,
    /// Size on the disk.
    pub size: ByteSize,
    path: PathBuf,
}

impl Cached {
    /// Opens the contents, as a tar to extract at `/`.
    ///
    /// # Errors
    /// Fails when the file cannot be read, or was removed meanwhile.
    pub fn open(&self) -> anyhow::Result<impl Read + Send + use<>> {
        let file = File::open(&self.path).context("opening a cache")?;
        // Marks the cache as used. On a file system without modification times, the cache is only removed sooner.
        let _ = file.set_modified(SystemTime::now());
        Ok(zstd::Decoder::new(file)?)
    }
}

impl Caches {
    /// Returns the caches in this folder, which need not exist yet.
    pub fn new(folder: PathBuf, config: CacheConfig) -> Self {
        Self { folder, config }
    }

    /// Returns true if forks read the default branch's caches.
    pub fn are_for_forks(&self) -> bool {
        self.config.forks == ForksRead::Default
    }

    /// Finds the first existing cache among those of the given refs.
    ///
    /// # Errors
    /// Fails when the folder cannot be read.
    pub fn find(&self, repo: RepoId, refs: &[String], slug: &str) -> anyhow::Result<Option<Cached>> {
        for reference in refs {
            if let Some(found) = files_of(&self.folder_of(repo, reference), slug)?.pop() {
                return Ok(Some(Cached { reference: reference.clone(), ..found }));
            }
        }
        Ok(None)
    }

    /// Begins a cache, which replaces an older one of the same ref and slug when it is finished.
    ///
    /// # Errors
    /// Fails when the file cannot be written.
    pub fn begin(&self, repo: RepoId, reference: &str, slug: &str) -> anyhow::Result<NewCache> {
        let folder = self.folder_of(repo, reference);
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let file = tempfile::Builder::new().prefix(&hashed(slug)).suffix(UNDER_WAY).tempfile_in(&folder)?;
        let limits = Limits { size: self.config.max_size, entries: MOST_ENTRIES };
        let packer = Packer::new(file.reopen()?, limits)?;
        Ok(NewCache { folder, slug: slug.to_owned(), file, packer })
    }

    /// Removes caches that are too old, and the least recently used ones above the total size. Those of forks are
    /// removed before others, and above their share of the total. Returns the number of removed caches.
    ///
    /// # Errors
    /// Fails when the folder cannot be read.
    pub fn prune(&self, now: SystemTime) -> anyhow::Result<usize> {
        let mut files = Vec::new();
        for repo in entries(&self.folder)? {
            for reference in entries(&repo)? {
                let is_fork = reference.extension().is_some_and(|extension| extension == FORK);
                files.extend(entries(&reference)?.into_iter().map(|file| (is_fork, file)));
            }
        }
        let mut kept = Vec::new();
        let mut removed = 0;
        for (is_fork, file) in files {
            let Ok(facts) = fs::metadata(&file) else { continue };
            let age = now.duration_since(facts.modified()?).unwrap_or_default();
            let is_under_way = file.to_string_lossy().ends_with(UNDER_WAY);
            if age > if is_under_way { ABANDONED } else { self.config.max_age } {
                removed += usize::from(fs::remove_file(&file).is_ok());
            } else if !is_under_way {
                kept.push((is_fork, age, facts.len(), file));
            }
        }
        kept.sort_unstable();
        let (mut total, mut of_forks, most) = (0, 0, self.config.total_size.as_u64());
        for (is_fork, _, size, file) in kept {
            total += size;
            of_forks += if is_fork { size } else { 0 };
            if total > most || of_forks > most / FORKS_SHARE {
                removed += usize::from(fs::remove_file(&file).is_ok());
            }
        }
        Ok(removed)
    }

    /// Removes all caches of a repository.
    ///
    /// # Errors
    /// Fails when a file cannot be removed.
    pub fn remove(&self, repo: RepoId) -> anyhow::Result<()> {
        let folder = self.folder.join(repo.0.to_string());
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("removing the caches in {}", folder.display()))
            }
            _ => Ok(()),
        }
    }

    /// Removes the caches of all repositories.
    ///
    /// # Errors
    /// Fails when a file cannot be removed.
    pub fn clear(&self) -> anyhow::Result<()> {
        // The folder may be a disk of its own, with files that are not ours.
        let id = |path: PathBuf| path.file_name()?.to_str()?.parse().ok().map(RepoId);
        entries(&self.folder)?.into_iter().filter_map(id).try_for_each(|repo| self.remove(repo))
    }

    fn folder_of(&self, repo: RepoId, reference: &str) -> PathBuf {
        let folder = self.folder.join(repo.0.to_string()).join(hashed(reference));
        if reference.starts_with("fork/") { folder.with_extension(FORK) } else { folder }
    }
}

/// A cache that is being written. If it is dropped unfinished, it leaves nothing behind.
#[derive(Debug)]
pub struct NewCache {
    folder: PathBuf,
    slug: String,
    file: tempfile::NamedTempFile,
    packer: Packer<File>,
}

impl NewCache {
    /// Adds the tar of `path` that the engine sends. The path is absolute, and each name in the tar begins with its
    /// last part.
    ///
    /// # Errors
    /// Fails when the tar is broken, the cache grows too large, or the disk is full.
    pub fn add(&mut self, path: &str, tar: impl Read) -> anyhow::Result<()> {
        self.packer.add(path, tar)
    }

    /// Lists the files that were left out because they hold tokens.
    pub fn left_out(&self) -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> = self.packer.left_out().map(|path| Path::new("/").join(path)).collect();
        paths.sort_unstable();
        paths
    }

    /// Moves the cache to its place. Returns `None`, without keeping anything, when its digest is `restored`, the
    /// digest of the cache that the job began with: then nothing has changed.
    ///
    /// # Errors
    /// Fails when the disk is full.
    pub fn finish(self, restored: Option<&str>) -> anyhow::Result<Option<ByteSize>> {
        let digest = self.packer.finish()?;
        if restored == Some(digest.as_str()) {
            return Ok(None);
        }
        self.file.as_file().sync_all().context("storing a cache")?;
        let older = files_of(&self.folder, &self.slug)?;
        let path = self.folder.join(format!("{}.{digest}{SUFFIX}", hashed(&self.slug)));
        let size = ByteSize::b(self.file.as_file().metadata()?.len());
        self.file.persist(&path).context("storing a cache")?;
        for old in older.into_iter().filter(|old| old.path != path) {
            let _ = fs::remove_file(old.path);
        }
        Ok(Some(size))
    }
}

/// Lists the caches of a slug in a folder; the last used one comes last.
fn files_of(folder: &Path, slug: &str) -> anyhow::Result<Vec<Cached>> {
    let prefix = format!("{}.", hashed(slug));
    let mut found = Vec::new();
    for path in entries(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let digest = name.strip_prefix(&prefix).and_then(|rest| rest.strip_suffix(SUFFIX));
        if let (Some(digest), Ok(facts)) = (digest, fs::metadata(&path)) {
            let cached = Cached {
                reference: String::new(),
                digest: digest.to_owned(),
                size: ByteSize::b(facts.len()),
                path: path.clone(),
            };
            found.push((facts.modified()?, cached));
        }
    }
    found.sort_by_key(|(used, _)| *used);
    Ok(found.into_iter().map(|(_, cached)| cached).collect())
}

/// Lists the entries of a folder; none if it does not exist.
fn entries(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => {
            let listed = listed.with_context(|| format!("reading {}", folder.display()))?;
            Ok(listed.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>()?)
        }
    }
}

fn hashed(text: &str) -> String {
    hex::encode(&Sha256::digest(text)[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPO: RepoId = RepoId(7);

    fn tar(name: &str, contents: &[u8], changed: u64) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(contents.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(changed);
        builder.append_data(&mut header, name, contents).unwrap();
        builder.into_inner().unwrap()
    }

    fn put(caches: &Caches, reference: &str, contents: &[u8], restored: Option<&str>) -> Option<ByteSize> {
        let mut new = caches.begin(REPO, reference, "slug").unwrap();
        new.add("/home/travis/.cache/pip", tar("pip/wheel", contents, contents.len() as u64).as_slice()).unwrap();
        new.finish(restored).unwrap()
    }

    fn contents(cached: &Cached) -> Vec<(String, Vec<u8>)> {
        let mut archive = tar::Archive::new(cached.open().unwrap());
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            (entry.path().unwrap().to_string_lossy().into_owned(), bytes)
        });
        entries.collect()
    }

    #[test]
    fn the_best_ref_wins_and_a_newer_cache_replaces_its_own_only() {
        let folder = tempfile::tempdir().unwrap();
        let caches = Caches::new(folder.path().join("caches"), CacheConfig::default());
        let refs = ["pull/1", "branch/main"].map(str::to_owned);
        assert_eq!(caches.find(REPO, &refs, "slug").unwrap(), None);
        assert!(put(&caches, "branch/main", b"main", None).is_some());
        let of_main = caches.find(REPO, &refs, "slug").unwrap().unwrap();
        assert_eq!(of_main.reference, "branch/main");
        assert_eq!(contents(&of_main), [("home/travis/.cache/pip/wheel".to_owned(), b"main".to_vec())]);

        assert_eq!(put(&caches, "pull/1", b"main", Some(&of_main.digest)), None, "nothing has changed");
        assert!(put(&caches, "pull/1", b"pull", Some(&of_main.digest)).is_some());
        assert_eq!(contents(&caches.find(REPO, &refs, "slug").unwrap().unwrap())[0].1, b"pull");
        assert_eq!(contents(&caches.find(REPO, &refs[1..], "slug").unwrap().unwrap())[0].1, b"main");
        assert!(put(&caches, "pull/1", b"pull 2", None).is_some());
        assert_eq!(contents(&caches.find(REPO, &refs, "slug").unwrap().unwrap())[0].1, b"pull 2");
        assert_eq!(caches.find(REPO, &refs, "other slug").unwrap(), None);
        assert_eq!(caches.find(RepoId(8), &refs, "slug").unwrap(), None);
    }

    #[test]
    fn a_cache_that_grows_too_large_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let config = CacheConfig { max_size: ByteSize::kib(64), ..CacheConfig::default() };
        let caches = Caches::new(folder.path().join("caches"), config);
        let mut new = caches.begin(REPO, "branch/main", "slug").unwrap();
        let error = new.add("/x/pip", tar("pip/wheel", &[b'x'; 100_000], 0).as_slice()).unwrap_err();
        assert!(format!("{error:#}").contains("64.0 KiB"), "{error:#}");
        drop(new);
        assert_eq!(caches.find(REPO, &["branch/main".to_owned()], "slug").unwrap(), None);
    }

    #[test]
    fn old_caches_go_and_of_too_many_the_least_used() {
        let folder = tempfile::tempdir().unwrap();
        let config = CacheConfig { total_size: ByteSize::b(1), ..CacheConfig::default() };
        let caches = Caches::new(folder.path().join("caches"), config);
        put(&caches, "branch/a", b"a", None);
        let now = SystemTime::now();
        assert_eq!(caches.prune(now).unwrap(), 1, "one byte is too few for any");
        let caches = Caches::new(folder.path().join("caches"), CacheConfig::default());
        put(&caches, "branch/a", b"a", None);
        put(&caches, "branch/b", b"b", None);
        assert_eq!(caches.prune(now).unwrap(), 0);
        assert_eq!(caches.prune(now + Duration::from_secs(46 * 24 * 3600)).unwrap(), 2);
    }
}
