//! What nobody else would notice: jobs whose worker is gone, containers that nobody runs, a disk that fills, and what is
//! kept for too long.

mod archiver;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use sqlx::PgPool;
use tokio::task::JoinSet;
use tracing::{info, warn};

pub use self::archiver::{ARCHIVE_INTERVAL, Archiver};
use crate::domain::AttemptId;
use crate::storage::Room;
use crate::store::alerts;
use crate::store::queue;
use crate::store::wakeup::bell::Bells;
use crate::worker::{Database, LEASE, Worker};

/// How often the janitor goes round.
pub const ROUND: Duration = Duration::from_secs(1);
/// Containers are looked through only each so many rounds: the list is a larger request.
const REAP_EACH: u32 = 30;
/// What is told of runners that are gone is looked through only each so many rounds.
const FORGET_EACH: u32 = 600;
/// How long a job waits for a runner that could run it at all: one may just be starting.
const UNSCHEDULABLE_AFTER: Duration = Duration::from_secs(60);

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
    room: Room,
    /// Each lease as it was found, and since when it has not changed.
    leases: HashMap<AttemptId, (DateTime<Utc>, Instant)>,
    rounds: u32,
    /// Containers are looked through beside the rounds, which an engine that does not answer must not hold up.
    reaping: JoinSet<()>,
}

impl Janitor {
    /// A janitor of these workers' runners and of the disks.
    pub fn new(duties: Duties, Database { pool: db, bells }: Database, workers: Vec<Arc<Worker>>, room: Room) -> Self {
        Self { duties, db, bells, workers, room, leases: HashMap::new(), rounds: 0, reaping: JoinSet::new() }
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
        self.check_disks().await?;
        if self.duties == Duties::Installation {
            self.check_jobs(now).await?;
        }
        while self.reaping.try_join_next().is_some() {}
        if self.rounds.is_multiple_of(REAP_EACH) && self.reaping.is_empty() {
            for worker in self.workers.iter().filter(|worker| worker.is_reachable()) {
                let worker = Arc::clone(worker);
                // An engine that is away is the worker's to report.
                self.reaping.spawn(async move { drop(worker.reap().await) });
            }
        }
        self.rounds = self.rounds.wrapping_add(1);
        Ok(())
    }

    async fn check_jobs(&mut self, now: Instant) -> anyhow::Result<()> {
        self.rescue(now).await.context("looking for lost jobs")?;
        if self.rounds.is_multiple_of(FORGET_EACH) {
            alerts::forget_runners(&self.db).await.context("looking for runners that are gone")?;
        }
        let told =
            queue::update_wait_reasons(&self.db, UNSCHEDULABLE_AFTER).await.context("looking at the jobs that wait")?;
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
        let leases = queue::leases(&self.db, LEASE * 2).await?;
        let live: HashSet<AttemptId> = leases.iter().map(|lease| lease.attempt).collect();
        self.leases.retain(|attempt, _| live.contains(attempt));
        for lease in leases {
            let seen = self.leases.entry(lease.attempt).or_insert((lease.until, now));
            if seen.0 != lease.until {
                *seen = (lease.until, now);
            }
            let is_lost = lease.has_run_out && now.duration_since(seen.1) >= LEASE;
            if is_lost && queue::rescue(&self.db, &lease).await? {
                let job = lease.attempt.job;
                warn!(%job, "the worker of job {job} is lost");
                self.bells.ring_log(job);
                self.bells.worker.ring();
                self.bells.outbox.ring();
            }
        }
        Ok(())
    }

    /// Tells of disks that are full. That no job is begun then is for the workers to see.
    async fn check_disks(&self) -> anyhow::Result<()> {
        let wanting = self.room.wanting()?;
        let own = match (self.duties, self.workers.first()) {
            (Duties::Runners, Some(worker)) => format!("disk of {}", worker.host()),
            _ => "disk".to_owned(),
        };
        self.report_disk(&own, wanting.as_deref()).await?;
        for worker in &self.workers {
            // Most often it is the same disk, of which one word is enough.
            let of_engine = worker.wanting_room()?.filter(|_| wanting.is_none());
            self.report_disk(&format!("disk of runner {}", worker.name()), of_engine.as_deref()).await?;
        }
        Ok(())
    }

    async fn report_disk(&self, component: &str, wanting: Option<&str>) -> anyhow::Result<()> {
        if alerts::set(&self.db, component, wanting).await? {
            match wanting {
                Some(wanting) => warn!("{wanting}"),
                None => {
                    info!("the {component} has room again");
                    self.bells.worker.ring();
                }
            }
        }
        Ok(())
    }
}
