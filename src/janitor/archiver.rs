//! The archiver: it moves finished logs out of Postgres, and removes what has been kept long enough. It runs apart from
//! the janitor's rounds, so that a slow upload does not delay the rescue of lost jobs.

use std::collections::HashSet;
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
use crate::inputs::Inputs;
use crate::storage::{Caches, Keys, Logs, Moved, Objects};
use crate::store::alerts;
use crate::store::api::{build_changes, keyed_requests};
use crate::store::inputs;
use crate::store::output::retention::{self, RetentionConfig};
use crate::store::output::{checkpoints, log_objects};
use crate::store::people::{api_tokens, audit, sessions};
use crate::store::runner::budgets;

/// Interval at which the archiver looks for logs to move.
pub const ARCHIVE_INTERVAL: Duration = Duration::from_secs(10);
/// Number of rounds between searches for old objects. Searches for lost objects, and packing of mirrors, are rarer
/// still.
const PRUNE_EACH: u32 = 60;
const SWEEP_EACH: u32 = 6 * 360;
/// Time from the end of a job until its log is moved: in that time the log is read most, and rows are read faster.
const ARCHIVE_AFTER: Duration = Duration::from_secs(5 * 60);
/// Age at which an object that no row names counts as lost. A younger one may be about to be named.
const LOST: Duration = Duration::from_secs(24 * 3600);
/// Time since the last fetch into a mirror after which it is removed. It is fetched again when it is needed.
const UNUSED_MIRROR: Duration = Duration::from_secs(45 * 24 * 3600);
/// Number of rows that a statement changes, and of keys that a query checks.
const BATCH: i64 = 1000;
/// Number of builds that a transaction deletes, with everything that belongs to them.
const BUILDS: i64 = 100;
/// Number of logs that may fail to move before the round ends.
const MOST_FAILURES: usize = 3;

/// The data that an archiver looks after.
#[derive(Debug, Clone)]
pub struct Kept {
    pub objects: Objects,
    pub keys: Keys,
    pub caches: Caches,
    pub inputs: Inputs,
    pub mirrors: Mirrors,
}

/// Moves logs into objects, and removes what is too old.
#[derive(Debug)]
pub struct Archiver {
    duties: Duties,
    db: PgPool,
    objects: Objects,
    logs: Logs,
    keys: Keys,
    caches: Caches,
    inputs: Inputs,
    mirrors: Mirrors,
    retention: RetentionConfig,
    rounds: u32,
    /// Mirrors are packed next to the rounds, because that may take long.
    packing: JoinSet<()>,
}

impl Archiver {
    /// Returns an archiver of these objects, caches, inputs and mirrors.
    pub fn new(duties: Duties, db: PgPool, kept: Kept, retention: RetentionConfig) -> Self {
        let Kept { objects, keys, caches, inputs, mirrors } = kept;
        let logs = Logs::new(db.clone(), objects.clone());
        Self { duties, db, objects, logs, keys, caches, inputs, mirrors, retention, rounds: 0, packing: JoinSet::new() }
    }

    /// Runs one round.
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
        if !self.rounds.is_multiple_of(PRUNE_EACH) {
            return Ok(());
        }
        let Some(_hold) = retention::may_remove_objects(&self.db).await? else { return Ok(()) };
        self.prune().await?;
        if self.rounds.is_multiple_of(SWEEP_EACH)
            && let Err(error) = self.sweep(LOST).await
        {
            warn!("cannot look for lost objects: {error:#}");
        }
        Ok(())
    }

    /// Moves the logs of all jobs that ended at least `ago` into objects. Returns the number of jobs. If the object
    /// storage does not answer, an alert is stored.
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
                    failure = Some(format!("finished logs stay in Postgres, because they cannot be moved: {error:#}"));
                    failures += 1;
                    passed.push(job);
                }
            }
        }
        // A round without work shows nothing about the state of the storage.
        if moved > 0 || failure.is_some() {
            alerts::set(&self.db, "object storage", failure.as_deref()).await?;
        }
        Ok(moved)
    }

    /// Removes everything that has been kept long enough. Returns the number of removed logs and artifacts.
    pub async fn prune(&self) -> anyhow::Result<usize> {
        let (db, keep) = (&self.db, &self.retention);
        let mut removed = 0;
        loop {
            let mut keys = retention::expire(db, keep, BATCH).await.context("reading the old objects")?;
            if keys.is_empty() {
                keys = retention::make_room(db, keep, BATCH).await.context("making room for objects")?;
            }
            if keys.is_empty() {
                break;
            }
            removed += keys.len();
            self.remove_all(&keys).await;
        }
        if removed > 0 {
            info!("removed {removed} old logs and artifacts");
        }
        let mut forgotten = 0;
        loop {
            let deleted = retention::forget_builds(db, keep, BUILDS).await.context("deleting old builds")?;
            if deleted.builds == 0 {
                break;
            }
            forgotten += deleted.builds;
            self.remove_all(&deleted.keys).await;
        }
        if forgotten > 0 {
            info!("deleted {forgotten} old builds");
        }
        while retention::forget_deliveries(db, keep, BATCH).await.context("deleting old deliveries")? > 0 {}
        while retention::forget_statuses(db, keep, BATCH).await.context("deleting old statuses")? > 0 {}
        while checkpoints::forget(db, keep.artifacts, BATCH).await.context("deleting old checkpoints")? > 0 {}
        while budgets::forget(db, BATCH).await.context("deleting old uses of GPUs")? > 0 {}
        while audit::forget(db, keep.audit, BATCH).await.context("deleting old records of changes")? > 0 {}
        while sessions::forget(db, BATCH).await.context("deleting old sessions")? > 0 {}
        while build_changes::forget(db, BATCH).await.context("deleting old changes of builds")? > 0 {}
        while keyed_requests::forget(db, BATCH).await.context("deleting old requests with keys")? > 0 {}
        while api_tokens::forget(db, BATCH).await.context("deleting old tokens")? > 0 {}
        Ok(removed)
    }

    /// Removes objects that no row names any more. The sweep finds those that cannot be removed now.
    async fn remove_all(&self, keys: &[String]) {
        for key in keys {
            if let Err(error) = self.objects.remove(key).await {
                warn!("cannot remove an old object for now: {error:#}");
            }
        }
    }

    /// Removes objects that were written at least `ago` and that no row names. Returns their number.
    ///
    /// # Errors
    /// Fails when Postgres or the object storage does not answer.
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
            info!("removed {removed} objects that no row names");
        }
        Ok(removed)
    }

    async fn inputs_in_use(&self) -> anyhow::Result<HashSet<String>> {
        Ok(inputs::in_use(&self.db).await?.into_iter().collect())
    }

    async fn tidy_files(&self) {
        let (caches, mirrors) = (self.caches.clone(), self.mirrors.clone());
        let now = SystemTime::now();
        match tokio::task::spawn_blocking(move || caches.prune(now)).await.map_err(Into::into).flatten() {
            Ok(0) => {}
            Ok(removed) => info!("removed {removed} caches that were old or too many"),
            Err(error) => warn!("cannot tidy up the caches: {error:#}"),
        }
        match self.inputs.prune(now, || self.inputs_in_use()).await {
            Ok(0) => {}
            Ok(removed) => info!("removed {removed} data sets and models that were used least"),
            Err(error) => warn!("cannot tidy up the data of train jobs: {error:#}"),
        }
        match mirrors.prune(now, UNUSED_MIRROR).await {
            Ok(0) => {}
            Ok(removed) => info!("removed {removed} mirrors that were unused for long"),
            Err(error) => warn!("cannot remove mirrors: {error:#}"),
        }
    }
}

/// Removes files that a process was writing into the folder when it died. Lists of objects leave these out, since their
/// names end in `#NUMBER`. Returns the number of removed files.
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
