//! What nobody else would notice: jobs whose worker is gone, containers that nobody runs, a disk that fills.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use bytesize::ByteSize;
use chrono::{DateTime, Utc};
use sqlx::PgPool;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::domain::JobId;
use crate::storage::Caches;
use crate::store::bell::Bells;
use crate::store::{jobs, troubles};
use crate::worker::{LEASE, Worker};

/// How often the janitor goes round.
pub const ROUND: Duration = Duration::from_secs(1);
/// Containers are looked through only each so many rounds: the list is a larger request.
const REAP_EACH: u32 = 30;
/// Caches are looked through only each so many rounds: they may be many.
const PRUNE_EACH: u32 = 600;
/// How long a job waits for a runner that could run it at all: one may just be starting.
const HOPE: Duration = Duration::from_secs(60);
/// Free space below which no log or checkout can be trusted to fit.
const LEAST_FREE: ByteSize = ByteSize::gib(1);

/// Whose mess is tidied up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duties {
    /// All of the installation: one process does that.
    Installation,
    /// That of this process and its runners.
    Runners,
}

/// Goes round and tidies up.
#[derive(Debug)]
pub struct Janitor {
    duties: Duties,
    db: PgPool,
    bells: Bells,
    workers: Vec<Arc<Worker>>,
    data: PathBuf,
    caches: Caches,
    /// Each lease as it was found, and since when it has not changed.
    leases: HashMap<(JobId, i32), (DateTime<Utc>, Instant)>,
    rounds: u32,
    /// Containers are looked through beside the rounds, which an engine that does not answer must not hold up.
    reaping: JoinSet<()>,
}

impl Janitor {
    /// A janitor of these workers' runners and of the `data` folder's disk.
    pub fn new(
        duties: Duties,
        (db, bells): (PgPool, Bells),
        workers: Vec<Arc<Worker>>,
        data: PathBuf,
        caches: Caches,
    ) -> Self {
        Self { duties, db, bells, workers, data, caches, leases: HashMap::new(), rounds: 0, reaping: JoinSet::new() }
    }

    /// One round at `now`.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn step(&mut self, now: Instant) -> anyhow::Result<()> {
        let outcome = self.round(now).await;
        if outcome.is_err() {
            self.leases.clear();
        }
        outcome
    }

    async fn round(&mut self, now: Instant) -> anyhow::Result<()> {
        self.look_at_disk().await?;
        if self.duties == Duties::Installation {
            self.look_at_jobs(now).await?;
        }
        while self.reaping.try_join_next().is_some() {}
        if self.rounds.is_multiple_of(REAP_EACH) && self.reaping.is_empty() {
            for worker in self.workers.iter().filter(|worker| worker.is_reachable()) {
                let worker = Arc::clone(worker);
                // An engine that is away is the worker's to report.
                self.reaping.spawn(async move { drop(worker.reap().await) });
            }
        }
        if self.rounds.is_multiple_of(PRUNE_EACH) {
            let caches = self.caches.clone();
            match tokio::task::spawn_blocking(move || caches.prune(SystemTime::now())).await? {
                Ok(0) => {}
                Ok(removed) => info!("{removed} caches that are old or too many are removed"),
                Err(error) => warn!("cannot tidy up the caches: {error:#}"),
            }
        }
        self.rounds = self.rounds.wrapping_add(1);
        Ok(())
    }

    async fn look_at_jobs(&mut self, now: Instant) -> anyhow::Result<()> {
        self.rescue(now).await.context("looking for lost jobs")?;
        if self.rounds.is_multiple_of(PRUNE_EACH) {
            troubles::forget_runners(&self.db).await.context("looking for runners that are gone")?;
        }
        let told = jobs::tell_waits(&self.db, HOPE).await.context("looking at the jobs that wait")?;
        if !told.is_empty() {
            told.into_iter().for_each(|job| self.bells.ring_log(job));
            self.bells.outbox.ring();
        }
        Ok(())
    }

    /// Brings back the jobs whose workers are lost: whose lease has run out, and was seen not to change for as long as one
    /// holds. So workers that could not beat because Postgres was away, or this machine, or because the clock has jumped,
    /// get the time to do so.
    async fn rescue(&mut self, now: Instant) -> sqlx::Result<()> {
        let leases = jobs::leases(&self.db, LEASE * 2).await?;
        let live: HashSet<(JobId, i32)> = leases.iter().map(|lease| (lease.job, lease.attempt)).collect();
        self.leases.retain(|attempt, _| live.contains(attempt));
        for lease in leases {
            let seen = self.leases.entry((lease.job, lease.attempt)).or_insert((lease.until, now));
            if seen.0 != lease.until {
                *seen = (lease.until, now);
            }
            let is_lost = lease.has_run_out && now.duration_since(seen.1) >= LEASE;
            if is_lost && jobs::rescue(&self.db, &lease).await? {
                let job = lease.job;
                warn!(%job, "the worker of job {job} is lost");
                self.bells.ring_log(job);
                self.bells.worker.ring();
                self.bells.outbox.ring();
            }
        }
        Ok(())
    }

    async fn look_at_disk(&self) -> anyhow::Result<()> {
        let disk = rustix::fs::statvfs(&self.data).with_context(|| format!("looking at {}", self.data.display()))?;
        let free = ByteSize::b(disk.f_bavail.saturating_mul(disk.f_frsize));
        let message = (free < LEAST_FREE)
            .then(|| format!("only {free} are free under {}: make room before jobs fail", self.data.display()));
        let component = match (self.duties, self.workers.first()) {
            (Duties::Runners, Some(worker)) => format!("disk of {}", worker.host()),
            _ => "disk".to_owned(),
        };
        if troubles::set(&self.db, &component, message.as_deref()).await? {
            info!("{}", message.as_deref().unwrap_or("the disk has room again"));
        }
        Ok(())
    }
}
