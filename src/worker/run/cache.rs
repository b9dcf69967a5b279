//! Caches of jobs: copied in before the start, copied out after the end.
//!
//! No failure here changes a job's verdict.

use std::io::Read as _;

use anyhow::Context as _;
use bytesize::ByteSize;
use tokio_util::io::{StreamReader, SyncIoBridge};
use tracing::warn;

use crate::attempt::HOME;
use crate::domain::RepoId;
use crate::executor::Engine;
use crate::storage::{Cached, Caches};
use crate::store::builds::BuildFacts;
use crate::store::queue::Claimed;
use crate::travis::cache::{self, Wanted};

/// The limits of the script's list of folders, in bytes and in lines.
const MAX_LIST: u64 = 64 * 1024;
const MAX_PATHS: usize = 100;

/// The cache of one job.
#[derive(Debug)]
pub(super) struct JobCache {
    repo: RepoId,
    refs: Vec<String>,
    slug: String,
    wanted: Wanted,
    /// The stored cache that the job begins with.
    pub(super) found: Option<Cached>,
}

impl JobCache {
    /// Describes the cache that the job begins with, for its log.
    pub(super) fn in_words(&self) -> String {
        match &self.found {
            Some(found) => format!("Restored the cache of {} ({}).", of(&found.reference), found.size),
            None => {
                let looked: Vec<String> = self.refs.iter().map(|reference| of(reference)).collect();
                format!("There is no cache yet for {}.", looked.join(" or "))
            }
        }
    }
}

/// Describes a ref.
fn of(reference: &str) -> String {
    match reference.split_once('/') {
        Some(("pull", number)) => format!("pull request #{number}"),
        Some((_, branch)) => format!("branch {branch}"),
        None => reference.to_owned(),
    }
}

/// Finds the cache for a job that wants one. An adopted attempt looks up none: its container was filled when it was
/// made.
pub(super) async fn find(caches: &Caches, job: &Claimed, facts: &BuildFacts, begins: bool) -> Option<JobCache> {
    let config = job.config.as_object()?;
    let wanted = cache::wanted(config)?;
    let branch = facts.branch.as_deref().or(facts.tag.as_deref()).unwrap_or_default();
    let refs = cache::refs(facts.pull_request.map(i64::from), branch, &facts.default_branch);
    let mut cache = JobCache { repo: facts.repo_id, refs, slug: cache::slug(config), wanted, found: None };
    if begins {
        let (caches, repo, refs, slug) = (caches.clone(), cache.repo, cache.refs.clone(), cache.slug.clone());
        let found = tokio::task::spawn_blocking(move || caches.find(repo, &refs, &slug)).await;
        cache.found = found.map_err(anyhow::Error::from).flatten().unwrap_or_else(|error| {
            warn!(job = %job.id, "cannot find the cache of job {}: {error:#}", job.id);
            None
        });
    }
    Some(cache)
}

/// Stores the folders that the job's script listed. Returns the lines about it for the log.
pub(super) async fn store(engine: &Engine, caches: &Caches, container: &str, cache: JobCache) -> String {
    let reference = of(&cache.refs[0]);
    let timeout = cache.wanted.timeout;
    let stored = match tokio::time::timeout(timeout, try_store(engine, caches, container, cache)).await {
        Ok(stored) => stored,
        Err(_) => {
            let timeout = humantime::format_duration(timeout);
            Err(anyhow::anyhow!("it took longer than {timeout} (`cache: timeout:`)"))
        }
    };
    match stored {
        Ok(Stored::Nothing) => String::new(),
        Ok(Stored::Unchanged) => "\nThe cache has not changed.\n".to_owned(),
        Ok(Stored::New(size)) => format!("\nStored the cache of {reference} ({size}).\n"),
        Err(error) => format!("\nThe cache is not stored: {error:#}.\n"),
    }
}

async fn try_store(engine: &Engine, caches: &Caches, container: &str, cache: JobCache) -> anyhow::Result<Stored> {
    let paths = listed_paths(engine, container).await?;
    if paths.is_empty() {
        return Ok(Stored::Nothing);
    }
    let (caches, repo) = (caches.clone(), cache.repo);
    let (reference, slug) = (cache.refs[0].clone(), cache.slug.clone());
    let mut new = tokio::task::spawn_blocking(move || caches.begin(repo, &reference, &slug)).await??;
    for path in paths {
        let tar = engine.copy_out(container, &path).await.with_context(|| format!("reading {path}"))?;
        let Some(tar) = tar else { continue };
        let tar = SyncIoBridge::new(StreamReader::new(tar));
        new = tokio::task::spawn_blocking(move || new.add(&path, tar).map(|()| new)).await??;
    }
    let restored = cache.found.map(|found| found.digest);
    let size = tokio::task::spawn_blocking(move || new.finish(restored.as_deref())).await??;
    Ok(size.map_or(Stored::Unchanged, Stored::New))
}

/// Returns the folders that the script listed, each a path from the root; empty when the script did not get that far.
async fn listed_paths(engine: &Engine, container: &str) -> anyhow::Result<Vec<String>> {
    let Some(tar) = engine.copy_out(container, &format!("{HOME}/.travis/cache")).await? else {
        return Ok(Vec::new());
    };
    let tar = SyncIoBridge::new(StreamReader::new(tar));
    let read = move || -> anyhow::Result<String> {
        let mut list = String::new();
        let mut archive = tar::Archive::new(tar);
        if let Some(entry) = archive.entries()?.next() {
            entry?.take(MAX_LIST).read_to_string(&mut list)?;
        }
        Ok(list)
    };
    let list = tokio::task::spawn_blocking(read).await?.context("reading the list of folders")?;
    Ok(list.lines().filter(|path| path.starts_with('/')).take(MAX_PATHS).map(str::to_owned).collect())
}

/// The outcome of storing a cache.
enum Stored {
    /// The job listed no folders.
    Nothing,
    /// The cache equals the one that the job began with.
    Unchanged,
    /// The cache was stored, with this size on the disk.
    New(ByteSize),
}
