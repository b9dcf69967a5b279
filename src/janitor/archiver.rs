//! Moves finished logs out of Postgres, and removes what is kept for too long. By itself, beside the janitor's rounds:
//! an upload that takes its time must not keep lost jobs waiting.

use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use chrono::Utc;
use futures::TryStreamExt as _;
use sqlx::PgPool;
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use super::Duties;
use crate::git::Mirrors;
use crate::storage::{Caches, Keys, Logs, Moved, Objects};
use crate::store::alerts;
use crate::store::output::log_objects;
use crate::store::output::retention::{self, Retention};

/// How often the archiver looks for logs to be moved.
pub const ARCHIVE_INTERVAL: Duration = Duration::from_secs(10);
/// Old things are looked for only each so many rounds, and lost objects and what is to be packed even less often.
const PRUNE_EACH: u32 = 60;
const SWEEP_EACH: u32 = 6 * 360;
/// A log moves so long after the end of its job: that is when it is read most, and rows are read faster.
const ARCHIVE_AFTER: Duration = Duration::from_secs(5 * 60);
/// An object that no row names is of an attempt that was lost, or is about to be named. After so long it is lost.
const LOST: Duration = Duration::from_secs(24 * 3600);
/// A mirror that nothing was fetched into for so long is fetched anew when it is needed again.
const UNUSED_MIRROR: Duration = Duration::from_secs(45 * 24 * 3600);
/// Rows that one statement changes, and keys that one asks for.
const BATCH: i64 = 1000;
/// Logs that cannot be moved in one round, after which the round ends.
const MOST_FAILURES: usize = 3;

/// Keeps what is worth keeping, and no more.
#[derive(Debug)]
pub struct Archiver {
    duties: Duties,
    db: PgPool,
    objects: Objects,
    logs: Logs,
    keys: Keys,
    caches: Caches,
    mirrors: Mirrors,
    retention: Retention,
    rounds: u32,
    /// Mirrors are packed beside the rounds: that may take long.
    packing: JoinSet<()>,
}

impl Archiver {
    /// A archiver of these objects, caches and mirrors.
    pub fn new(
        duties: Duties,
        db: PgPool,
        (objects, keys): (Objects, Keys),
        (caches, mirrors): (Caches, Mirrors),
        retention: Retention,
    ) -> Self {
        let logs = Logs::new(db.clone(), objects.clone());
        Self { duties, db, objects, logs, keys, caches, mirrors, retention, rounds: 0, packing: JoinSet::new() }
    }

    /// One round.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn step(&mut self) -> anyhow::Result<()> {
        if self.duties == Duties::Installation {
            self.keep_objects().await?;
        }
        if self.rounds.is_multiple_of(PRUNE_EACH) {
            self.tidy_files().await;
        }
        while self.packing.try_join_next().is_some() {}
        if self.rounds.is_multiple_of(SWEEP_EACH) && self.packing.is_empty() {
            let mirrors = self.mirrors.clone();
            self.packing.spawn(async move {
                if let Err(error) = mirrors.tidy().await {
                    warn!("{error:#}");
                }
            });
        }
        self.rounds = self.rounds.wrapping_add(1);
        Ok(())
    }

    async fn keep_objects(&self) -> anyhow::Result<()> {
        self.archive(ARCHIVE_AFTER).await?;
        if self.rounds.is_multiple_of(PRUNE_EACH) {
            self.prune().await?;
        }
        if self.rounds.is_multiple_of(SWEEP_EACH)
            && let Err(error) = self.sweep(LOST).await
        {
            warn!("cannot look for lost objects: {error:#}");
        }
        Ok(())
    }

    /// Moves the logs of all jobs that ended so long `ago` into objects; gives of how many jobs.
    ///
    /// # Errors
    /// When Postgres cannot be asked. A place for objects that does not answer is told as a trouble.
    pub async fn archive(&self, ago: Duration) -> anyhow::Result<usize> {
        let (mut moved, mut passed) = (0, Vec::new());
        let mut failure = None;
        let mut failures = 0;
        while failures < MOST_FAILURES {
            let Some(job) = log_objects::next_due(&self.db, ago, &passed).await? else { break };
            match self.logs.archive(&self.keys, job).await {
                Ok(Moved::Bytes(raw, packed)) => {
                    debug!(%job, "the log of job {job}, {raw} bytes, is an object of {packed} bytes now");
                    moved += 1;
                }
                Ok(Moved::Nothing) => passed.push(job),
                Err(error) => {
                    warn!(%job, "cannot move the log of job {job}: {error:#}");
                    failure = Some(format!("finished logs stay in Postgres, since they cannot be moved: {error:#}"));
                    failures += 1;
                    passed.push(job);
                }
            }
        }
        // A round without work says nothing about the place.
        if moved > 0 || failure.is_some() {
            alerts::set(&self.db, "object storage", failure.as_deref()).await?;
        }
        Ok(moved)
    }

    /// Removes logs, artifacts and bodies of deliveries that are kept for long enough; gives how many objects.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn prune(&self) -> anyhow::Result<usize> {
        let mut removed = 0;
        loop {
            let keys = retention::expire(&self.db, &self.retention, BATCH).await.context("looking for old objects")?;
            if keys.is_empty() {
                break;
            }
            removed += keys.len();
            for key in keys {
                // No row names it any more, so the sweep finds it again.
                if let Err(error) = self.objects.remove(&key).await {
                    warn!("an old object stays for now: {error:#}");
                }
            }
        }
        if removed > 0 {
            info!("{removed} old logs and artifacts are removed");
        }
        while retention::forget_bodies(&self.db, &self.retention, BATCH).await? > 0 {}
        Ok(removed)
    }

    /// Removes objects that were written so long `ago` and that no row names; gives how many.
    ///
    /// # Errors
    /// When Postgres or the place of the objects does not answer.
    pub async fn sweep(&self, ago: Duration) -> anyhow::Result<usize> {
        let before = Utc::now() - ago;
        let listed = self.objects.list(&self.keys.instance);
        let old = listed.try_filter(|object| std::future::ready(object.written <= before));
        let mut batches = old.map_ok(|object| object.key).try_chunks(usize::try_from(BATCH)?);
        let mut removed = 0;
        while let Some(keys) = batches.try_next().await.map_err(|error| error.1)? {
            for key in retention::unnamed(&self.db, &keys).await? {
                self.objects.remove(&key).await?;
                removed += 1;
            }
        }
        if let Some(folder) = self.objects.folder() {
            let (folder, now) = (folder.to_owned(), SystemTime::now());
            removed += tokio::task::spawn_blocking(move || halves(&folder, now, ago)).await?;
        }
        if removed > 0 {
            info!("{removed} objects that nothing names are removed");
        }
        Ok(removed)
    }

    async fn tidy_files(&self) {
        let (caches, mirrors) = (self.caches.clone(), self.mirrors.clone());
        let now = SystemTime::now();
        match tokio::task::spawn_blocking(move || caches.prune(now)).await.map_err(Into::into).flatten() {
            Ok(0) => {}
            Ok(removed) => info!("{removed} caches that are old or too many are removed"),
            Err(error) => warn!("cannot tidy up the caches: {error:#}"),
        }
        match mirrors.prune(now, UNUSED_MIRROR).await {
            Ok(0) => {}
            Ok(removed) => info!("{removed} mirrors that nothing was fetched into for long are removed"),
            Err(error) => warn!("cannot remove mirrors: {error:#}"),
        }
    }
}

/// Removes what a process that died has begun to write into the folder: files that lists of objects leave out, since
/// their names end in `#NUMBER`. Gives how many.
fn halves(folder: &Path, now: SystemTime, ago: Duration) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let mut removed = 0;
    for entry in entries.flatten() {
        let Ok(facts) = entry.metadata() else { continue };
        if facts.is_dir() {
            removed += halves(&entry.path(), now, ago);
        } else if entry.file_name().to_string_lossy().contains('#')
            && facts.modified().is_ok_and(|time| now.duration_since(time).is_ok_and(|age| age >= ago))
        {
            removed += usize::from(std::fs::remove_file(entry.path()).is_ok());
        }
    }
    removed
}
