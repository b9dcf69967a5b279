//! The janitor: regular checks for jobs whose worker is lost, containers without a job, full disks, and data that has
//! been kept long enough.

mod archiver;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;
use tokio::task::JoinSet;
use tracing::{info, warn};

pub use self::archiver::{ARCHIVE_INTERVAL, Archiver, Kept};
use crate::domain::AttemptId;
use crate::intake::LONGEST_WAIT;
use crate::notifier;
use crate::outbox::LONGEST_PAUSE;
use crate::storage::Room;
use crate::store::delays::{self, LongestWaits};
use crate::store::publications::{self, Failed};
use crate::store::queue;
use crate::store::wakeup::bell::Bells;
use crate::store::{alerts, crons, deliveries};
use crate::worker::{Database, LEASE, REQUEUE_DELAY, Worker};

/// Interval of the janitor's rounds.
pub const ROUND: Duration = Duration::from_secs(1);
/// Number of rounds between checks of the containers: their list is a larger request.
const REAP_EACH: u32 = 30;
/// Number of rounds between checks for waits that a wrong clock has stretched.
const SHORTEN_EACH: u32 = 30;
/// Number of rounds between checks for alerts on runners and repositories that no longer exist.
const FORGET_EACH: u32 = 600;
/// Number of rounds between checks for publications that have failed.
const PUBLICATIONS_EACH: u32 = 5;
/// Number of rounds between checks for crons that are due.
const CRON_EACH: u32 = 10;
/// Longest waits that the steps ask for.
const LONGEST_WAITS: LongestWaits =
    LongestWaits { wish: LONGEST_PAUSE, delivery: LONGEST_WAIT, job: REQUEUE_DELAY, notification: notifier::PATIENCE };
/// Time after an outage of Postgres, or a jump of its clock, in which nothing counts as lost: workers may still be finding
/// out that their connections are dead, and runners were seen at another time.
const AFTER_DISTURBANCE: Duration = Duration::from_secs(30);
/// Difference to the clock of Postgres from which that clock has jumped between two rounds.
const JUMP: TimeDelta = TimeDelta::seconds(5);
/// Number of tries after which an open delivery counts as stuck.
const STUCK_TRIES: i32 = 4;
/// Time that a job waits for a runner that could run it at all: such a runner may just be starting.
const UNSCHEDULABLE_AFTER: Duration = Duration::from_secs(60);
/// Time after which a build that nobody has approved is canceled.
const UNAPPROVED_AGE: Duration = Duration::from_secs(30 * 24 * 3600);
/// Time that no job has waited.
const ENDLESS: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Scope of the janitor's duties.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duties {
    /// The whole installation; one process has these duties.
    Installation,
    /// The runners of this process.
    Runners,
}

/// State of the janitor between its rounds.
#[derive(Debug)]
pub struct Janitor {
    duties: Duties,
    db: PgPool,
    bells: Bells,
    workers: Vec<Arc<Worker>>,
    room: Room,
    /// Each lease as it was last seen, and the time since which it has not changed.
    leases: HashMap<AttemptId, (DateTime<Utc>, Instant)>,
    /// Time of the first round.
    started: Option<Instant>,
    /// Time of the last outage or jump.
    disturbed: Option<Instant>,
    /// Clock of Postgres in the last round.
    clock: Option<(DateTime<Utc>, Instant)>,
    rounds: u32,
    /// Containers are checked next to the rounds, so that an engine that does not answer cannot delay them.
    reaping: JoinSet<()>,
}

impl Janitor {
    /// Returns a janitor of these workers' runners and of the disks.
    pub fn new(duties: Duties, Database { pool: db, bells }: Database, workers: Vec<Arc<Worker>>, room: Room) -> Self {
        Self {
            duties,
            db,
            bells,
            workers,
            room,
            leases: HashMap::new(),
            started: None,
            disturbed: None,
            clock: None,
            rounds: 0,
            reaping: JoinSet::new(),
        }
    }

    /// Runs one round at `now`.
    pub async fn step(&mut self, now: Instant) -> anyhow::Result<()> {
        let outcome = self.round(now).await;
        if outcome.is_err() {
            self.leases.clear();
            self.disturbed = Some(now);
            self.clock = None;
        }
        outcome
    }

    async fn round(&mut self, now: Instant) -> anyhow::Result<()> {
        self.check_disks().await?;
        if self.duties == Duties::Installation {
            self.check_jobs(now).await?;
            self.check_deliveries().await.context("checking the deliveries")?;
            self.check_crons().await.context("checking the crons")?;
            self.check_publications().await.context("checking the publications")?;
        }
        while self.reaping.try_join_next().is_some() {}
        if self.rounds.is_multiple_of(REAP_EACH) && self.reaping.is_empty() {
            for worker in self.workers.iter().filter(|worker| worker.is_reachable()) {
                let worker = Arc::clone(worker);
                // The worker itself reports an engine that is unreachable.
                self.reaping.spawn(async move { drop(worker.reap().await) });
            }
        }
        self.rounds = self.rounds.wrapping_add(1);
        Ok(())
    }

    async fn check_jobs(&mut self, now: Instant) -> anyhow::Result<()> {
        self.watch_clock(now).await.context("reading the clock of Postgres")?;
        self.rescue(now).await.context("rescuing lost jobs")?;
        if self.rounds.is_multiple_of(FORGET_EACH) {
            alerts::forget_runners(&self.db).await.context("forgetting removed runners")?;
            alerts::forget_repositories(&self.db).await.context("forgetting alerts on repositories")?;
        }
        if self.rounds.is_multiple_of(SHORTEN_EACH) {
            let shortened = delays::shorten(&self.db, &LONGEST_WAITS).await.context("shortening the waits")?;
            if shortened > 0 {
                warn!("{shortened} waits were longer than any that Trainyard asks for: was the clock ahead?");
            }
        }
        // After a start, runners may not have reported for long, and report within seconds.
        let is_calm = is_long_ago(self.started, now) && is_long_ago(self.disturbed, now);
        if is_calm && self.rounds.is_multiple_of(FORGET_EACH) {
            queue::cancel_unapproved(&self.db, UNAPPROVED_AGE).await.context("canceling unapproved builds")?;
            self.bells.outbox.ring();
        }
        let patience = if is_calm { UNSCHEDULABLE_AFTER } else { ENDLESS };
        let told = queue::update_wait_reasons(&self.db, patience).await.context("updating the wait reasons")?;
        if !told.is_empty() {
            told.into_iter().for_each(|job| self.bells.ring_log(job));
            self.bells.outbox.ring();
        }
        Ok(())
    }

    /// Notices a jump of Postgres's clock.
    async fn watch_clock(&mut self, now: Instant) -> sqlx::Result<()> {
        self.started.get_or_insert(now);
        let clock = delays::clock(&self.db).await?;
        let Some((before, then)) = self.clock.replace((clock, now)) else { return Ok(()) };
        let passed = TimeDelta::from_std(now.saturating_duration_since(then)).unwrap_or(TimeDelta::MAX);
        let jump = clock.signed_duration_since(before) - passed;
        if jump.abs() >= JUMP {
            warn!("the clock of Postgres has jumped by {} s", jump.num_seconds());
            self.disturbed = Some(now);
        }
        Ok(())
    }

    /// Requeues the jobs whose workers are lost. A worker is lost when its lease has run out, and has not changed for
    /// the length of one lease while we watched. So a worker that could not beat (because Postgres or this machine was
    /// away, or because the clock has jumped) gets the time to do so.
    async fn rescue(&mut self, now: Instant) -> sqlx::Result<()> {
        let is_calm = is_long_ago(self.disturbed, now);
        let leases = queue::leases(&self.db, LEASE * 2).await?;
        let live: HashSet<AttemptId> = leases.iter().map(|lease| lease.attempt).collect();
        self.leases.retain(|attempt, _| live.contains(attempt));
        for lease in leases {
            let seen = self.leases.entry(lease.attempt).or_insert((lease.until, now));
            if seen.0 != lease.until {
                *seen = (lease.until, now);
            }
            let is_lost = is_calm && lease.has_run_out && now.duration_since(seen.1) >= LEASE;
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

    /// Stores an alert while deliveries fail, and for a day after one was given up.
    async fn check_deliveries(&self) -> sqlx::Result<()> {
        let alert = deliveries::failing(&self.db, STUCK_TRIES).await?.map(|failing| {
            let deliveries::Failing { id, tries, last_error, given_up, total } = failing;
            let others =
                if total == 1 { String::new() } else { format!("{total} deliveries fail, the last one is this: ") };
            let end = if given_up { "was given up".to_owned() } else { format!("is not done after {tries} tries") };
            format!("{others}delivery {id} {end}: {last_error}")
        });
        if alerts::set(&self.db, "deliveries", alert.as_deref()).await? {
            match alert {
                Some(alert) => warn!("{alert}"),
                None => info!("no delivery fails any more"),
            }
        }
        Ok(())
    }

    /// Stores an alert while publications have failed for good in the last week.
    async fn check_publications(&self) -> sqlx::Result<()> {
        if !self.rounds.is_multiple_of(PUBLICATIONS_EACH) {
            return Ok(());
        }
        let alert = publications::failed(&self.db).await?.map(|failed| {
            let Failed { count, owner, name, build, job, target, error } = failed;
            let others =
                if count == 1 { String::new() } else { format!("{count} publications have failed, the last one is this: ") };
            format!(
                "{others}the weights of {owner}/{name} build {build}, job {job} are not published to {target}: {error}. When \
                 the cause is gone, publish again on the job's page"
            )
        });
        if alerts::set(&self.db, "publications", alert.as_deref()).await? {
            match alert {
                Some(alert) => warn!("{alert}"),
                None => info!("no publication has failed any more"),
            }
        }
        Ok(())
    }

    async fn check_crons(&self) -> sqlx::Result<()> {
        if self.rounds.is_multiple_of(CRON_EACH) {
            let requested = crons::run_due(&self.db).await?;
            if requested > 0 {
                info!("{requested} crons are due");
                self.bells.intake.ring();
            }
        }
        Ok(())
    }

    /// Stores alerts on disks that are full. It is up to the workers to start no jobs then.
    async fn check_disks(&self) -> anyhow::Result<()> {
        let wanting = self.room.wanting()?;
        let own = match (self.duties, self.workers.first()) {
            (Duties::Runners, Some(worker)) => format!("disk of {}", worker.host()),
            _ => "disk".to_owned(),
        };
        self.report_disk(&own, wanting.as_deref()).await?;
        for worker in &self.workers {
            // Most often it is the same disk, and one alert is enough.
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

/// Returns true if the time of a disturbance lies far enough behind `now`, or if there was none.
fn is_long_ago(disturbed: Option<Instant>, now: Instant) -> bool {
    disturbed.is_none_or(|at| now.saturating_duration_since(at) >= AFTER_DISTURBANCE)
}
