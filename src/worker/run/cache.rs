//! Caches of jobs: copied in before the start, copied out after the end.
//!
//! No failure here changes a job's verdict.

use std::io::Read as _;
use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::Context as _;
use bytesize::ByteSize;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::attempt::HOME;
use crate::domain::RepoId;
use crate::executor::Engine;
use crate::storage::{Cached, Caches};
use crate::store::builds::BuildFacts;
use crate::store::queue::Claimed;
use crate::travis::cache::{self, Origin, Wanted};
use crate::worker::Settings;

/// The limits of the script's list of folders, in bytes and in lines.
const MAX_LIST: u64 = 64 * 1024;
const MAX_PATHS: usize = 100;
/// The most files that the log names of those that were left out.
const MOST_NAMED: usize = 10;

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
        Some(("pull" | "fork", number)) => format!("pull request #{number}"),
        Some(("tag", tag)) => format!("tag {tag}"),
        Some((_, branch)) => format!("branch {branch}"),
        None => reference.to_owned(),
    }
}

/// Finds the cache for a job that wants one. An adopted attempt looks up none: its container was filled when it was
/// made.
pub(super) async fn find(
    caches: &Caches,
    job: &Claimed,
    facts: &BuildFacts,
    is_fork: bool,
    begins: bool,
) -> Option<JobCache> {
    let config = job.config.as_object()?;
    let wanted = cache::wanted(config)?;
    let branch = facts.branch.as_deref().unwrap_or_default();
    let origin = match (facts.pull_request.map(i64::from), &facts.tag) {
        (Some(number), _) if is_fork => Origin::Fork(number),
        (Some(number), _) => Origin::PullRequest(number, branch),
        (None, Some(tag)) => Origin::Tag(tag),
        (None, None) => Origin::Branch(branch),
    };
    let refs = cache::refs(origin, &facts.default_branch, caches.are_for_forks());
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
pub(super) async fn store(engine: &Engine, settings: &Settings, container: &str, cache: JobCache) -> String {
    let reference = of(&cache.refs[0]);
    let timeout = cache.wanted.timeout;
    let stored = match tokio::time::timeout(timeout, try_store(engine, settings, container, cache)).await {
        Ok(stored) => stored,
        Err(_) => {
            let timeout = humantime::format_duration(timeout);
            Err(anyhow::anyhow!("it took longer than {timeout} (`cache: timeout:`)"))
        }
    };
    match stored {
        Ok(Stored { what: What::Nothing, .. }) => String::new(),
        Ok(Stored { what: What::Unchanged, left_out }) => {
            format!("\nThe cache has not changed.\n{}", without_tokens(&left_out))
        }
        Ok(Stored { what: What::New(size), left_out }) => {
            format!("\nStored the cache of {reference} ({size}).\n{}", without_tokens(&left_out))
        }
        Err(error) => format!("\nThe cache is not stored: {error:#}.\n"),
    }
}

/// Returns the line about files that were left out because they hold tokens.
fn without_tokens(left_out: &[PathBuf]) -> String {
    if left_out.is_empty() {
        return String::new();
    }
    let named: Vec<String> = left_out.iter().take(MOST_NAMED).map(|path| path.display().to_string()).collect();
    let more = match left_out.len() - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("Left out of it, because others read caches and such files hold tokens: {}{more}.\n", named.join(", "))
}

async fn try_store(engine: &Engine, settings: &Settings, container: &str, cache: JobCache) -> anyhow::Result<Stored> {
    let stop = CancellationToken::new();
    let _ends_reading = stop.clone().drop_guard();
    let paths = listed_paths(engine, container, &stop).await?;
    if paths.is_empty() {
        return Ok(Stored { what: What::Nothing, left_out: Vec::new() });
    }
    if let Some(wanting) = settings.room.wanting()? {
        anyhow::bail!(wanting);
    }
    let caches = settings.caches.clone();
    let (repo, reference, slug) = (cache.repo, cache.refs[0].clone(), cache.slug.clone());
    let mut new = tokio::task::spawn_blocking(move || caches.begin(repo, &reference, &slug)).await??;
    for path in paths {
        let tar = engine.copy_out(container, &path, &stop).await.with_context(|| format!("reading {path}"))?;
        let Some(tar) = tar else { continue };
        new = tokio::task::spawn_blocking(move || new.add(&path, tar).map(|()| new)).await??;
    }
    let (caches, restored) = (settings.caches.clone(), cache.found.map(|found| found.digest));
    let finish = move || -> anyhow::Result<Stored> {
        let left_out = new.left_out();
        let what = match new.finish(restored.as_deref())? {
            None => What::Unchanged,
            Some(size) => {
                // Many jobs may end before the next round that removes caches.
                caches.prune(SystemTime::now())?;
                What::New(size)
            }
        };
        Ok(Stored { what, left_out })
    };
    tokio::task::spawn_blocking(finish).await?
}

/// Returns the folders that the script listed, each a path from the root; empty when the script did not get that far.
async fn listed_paths(engine: &Engine, container: &str, stop: &CancellationToken) -> anyhow::Result<Vec<String>> {
    let Some(tar) = engine.copy_out(container, &format!("{HOME}/.travis/cache"), stop).await? else {
        return Ok(Vec::new());
    };
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
struct Stored {
    what: What,
    /// Files that were left out because they hold tokens.
    left_out: Vec<PathBuf>,
}

enum What {
    /// The job listed no folders.
    Nothing,
    /// The cache equals the one that the job began with.
    Unchanged,
    /// The cache was stored, with this size on the disk.
    New(ByteSize),
}
