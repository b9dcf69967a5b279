//! The worker of one runner: claims jobs and runs each until its verdict.
//!
//! A claimed job can be followed from here by type: [`Worker::work`] claims a [`Claimed`] job, `run::run` makes a `Run`
//! of it, and the phases of the run are `Prepared`, `Started`, `Ended` and `Finished`.
//!
//! A worker that dies leaves its containers running. The next process finds them by their names (`recover`), continues
//! their logs at the stored offset, and finishes their jobs.

mod checkout_images;
mod engine;
mod fetch;
mod gpus;
mod recover;
mod run;
mod runner;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use sqlx::PgPool;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use url::Url;

use crate::attempt::ImagesConfig;
use crate::executor::{Docker, EgressRule, Engine, Limits, Mount, NvidiaSmi};
use crate::git::Mirrors;
use crate::github::Client;
use crate::gpu;
use crate::inputs::Inputs;
use crate::storage::{Caches, Keys, Logs, Objects, Room};
use crate::store::queue::{self, Claimed, QueueConfig};
use crate::store::sealed::own_keys::ProvenanceKey;
use crate::store::sealed::repo_keys::RepoKeys;
use crate::store::sealed::variables::Variables;
use crate::store::wakeup::bell::Bells;
use crate::trackers::TrackersConfig;
use checkout_images::CheckoutImages;
use engine::EngineHealth;
use gpus::GpuInventory;
pub use gpus::{GpuKeyword, ListedGpu, RunnerGpus};
use runner::Presence;
pub use runner::RunnerConfig;

/// The time for which a job belongs to a worker without a beat. After it, the job of a lost worker is taken up again.
pub const LEASE: Duration = Duration::from_secs(6);
/// The interval at which a lease is extended: three beats may be lost before the lease is.
const BEAT_INTERVAL: Duration = Duration::from_millis(1500);
const ENGINE_RETRY_DELAY: Duration = Duration::from_secs(2);
/// The time that a job waits in the queue after it was given back because of the engine or git.
pub const REQUEUE_DELAY: Duration = Duration::from_secs(5);
/// The time that canceled jobs have to end when the service stops. The operator sets the graces between signals.
pub const STOP_OF_JOBS: Duration = Duration::from_secs(60);
/// The longest time between two polls of the queue when no bell rings. A job whose delay has passed waits no longer.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The settings and handles that all jobs of a runner share.
#[derive(Debug, Clone)]
pub struct Settings {
    pub images: ImagesConfig,
    /// The limits of one job.
    pub limits: Limits,
    /// The folders of the machine that jobs may read.
    pub mounts: Vec<Mount>,
    /// The only networks that some jobs reach.
    pub egress: Vec<EgressRule>,
    pub gpu: gpu::GpuConfig,
    /// The limits on the slots of repositories and forks.
    pub queue: QueueConfig,
    /// The server's public address, for the environment of jobs.
    pub public_url: Url,
    /// GitHub, whose tokens fetch the commits of jobs.
    pub github: Client,
    /// GitHub's API, for the releases that jobs publish.
    pub github_api: Url,
    /// The folder in which checkouts are put together.
    pub scratch: PathBuf,
    pub keys: RepoKeys,
    /// The variables of repositories, which jobs see.
    pub variables: Variables,
    /// The forms in which trainings are kept for experiment trackers.
    pub trackers: TrackersConfig,
    /// The key that signs statements of provenance.
    pub provenance: ProvenanceKey,
    pub caches: Caches,
    /// The data sets and models of this machine.
    pub inputs: Inputs,
    /// The storage for artifacts; `None` where the server could not read it.
    pub objects: Option<(Objects, Keys)>,
    pub logs: Logs,
    pub room: Room,
    /// True when a stop of the service cancels the jobs that run.
    pub cancel_on_stop: bool,
}

/// Postgres and the bells of this process.
#[derive(Debug, Clone)]
pub struct Database {
    pub pool: PgPool,
    pub bells: Bells,
}

/// The worker of one runner.
#[derive(Debug)]
pub struct Worker {
    slots: usize,
    cancel_on_stop: bool,
    handles: Arc<Handles>,
}

/// The handles that the runs of a worker share. Each phase of a run takes the few that it uses.
#[derive(Debug)]
struct Handles {
    presence: Presence,
    db: PgPool,
    bells: Bells,
    engine: Engine,
    health: EngineHealth,
    gpus: GpuInventory,
    checkout_images: CheckoutImages,
    mirrors: Mirrors,
    settings: Settings,
}

impl Worker {
    /// Makes a worker that has not asked for work yet.
    pub fn new(
        runner: &RunnerConfig,
        docker: Docker,
        database: Database,
        mirrors: Mirrors,
        settings: Settings,
    ) -> Self {
        let settings = Settings { limits: runner.limits(&settings.limits), ..settings };
        let presence = Presence::new(runner, docker.endpoint());
        let engine = Engine::new(docker.clone(), runner.ready);
        let health = EngineHealth::new(&presence.name, engine.clone(), database.pool.clone(), settings.room.clone());
        let smi = NvidiaSmi::new(&settings.gpu, &docker, &settings.images.generic);
        let access = settings.gpu.clone();
        let gpus = GpuInventory::new(runner, smi, engine.clone(), presence.clone(), database.clone(), access);
        let checkout_images = CheckoutImages::new(docker, engine.clone(), mirrors.clone(), &presence.name, &settings);
        let Database { pool: db, bells } = database;
        let (slots, cancel_on_stop) = (runner.slots, settings.cancel_on_stop);
        let handles =
            Arc::new(Handles { presence, db, bells, engine, health, gpus, checkout_images, mirrors, settings });
        Self { slots, cancel_on_stop, handles }
    }

    pub fn name(&self) -> &str {
        &self.handles.presence.name
    }

    /// Returns the name of the machine on which this process runs.
    pub fn host(&self) -> &str {
        &self.handles.presence.host
    }

    /// Works until `shutdown`. Containers continue to run after it.
    pub async fn work(self: Arc<Self>, shutdown: CancellationToken) {
        let slots = Arc::new(Semaphore::new(self.slots));
        let mut running = JoinSet::new();
        let adopted = tokio::select! {
            adopted = self.recover() => adopted,
            () = shutdown.cancelled() => return,
        };
        for (job, found) in adopted {
            // There may be more jobs than slots, when a restart lowered the number of slots. Then no new job starts
            // until enough end.
            let slot = Arc::clone(&slots).try_acquire_owned().ok();
            running.spawn(run::run(Arc::clone(&self.handles), job, Some(found), slot));
        }
        loop {
            while running.try_join_next().is_some() {}
            let slot = tokio::select! {
                slot = self.free_slot(&slots) => slot,
                () = shutdown.cancelled() => break,
            };
            // While the engine is away, jobs wait for it, or for another runner.
            tokio::select! {
                () = self.handles.health.until_reachable() => {}
                () = shutdown.cancelled() => break,
            }
            // A claim that is under way at the shutdown is completed. Otherwise its job would wait until the lease
            // ends.
            let Some(job) = self.claim_or_wait().await else { continue };
            running.spawn(run::run(Arc::clone(&self.handles), job, None, Some(slot)));
            // So at most one job meets an engine that has just gone away.
            if self.handles.engine.version().await.is_err() {
                self.handles.health.set_away();
            }
        }
        if self.cancel_on_stop {
            self.cancel_all(&mut running).await;
        } else if !running.is_empty() {
            info!(runner = self.name(), "{} running jobs continue; the next start finds them", running.len());
        }
        running.shutdown().await;
    }

    /// Waits for a slot. Meanwhile it may preempt running jobs, which also frees a slot for the job that waits for
    /// their GPUs.
    async fn free_slot(&self, slots: &Arc<Semaphore>) -> OwnedSemaphorePermit {
        let slot = Arc::clone(slots).acquire_owned();
        tokio::pin!(slot);
        loop {
            tokio::select! {
                slot = &mut slot => return slot.unwrap_or_else(|_| unreachable!("never closed")),
                () = tokio::time::sleep(POLL_INTERVAL) => {}
            }
            if self.handles.gpus.may_exist()
                && let Err(error) =
                    queue::mark_preemptions(&self.handles.db, self.name(), &self.handles.settings.queue).await
            {
                warn!(runner = self.name(), "cannot mark jobs for preemption: {error}");
            }
        }
    }

    /// Claims a job. When there is none, waits for the next reason to try again, and returns `None`.
    async fn claim_or_wait(&self) -> Option<Claimed> {
        match self.claim().await {
            Ok(Some(job)) => return Some(job),
            Ok(None) => self.handles.bells.worker.wait(POLL_INTERVAL).await,
            Err(error) => {
                warn!(runner = self.name(), "cannot claim a job: {error:#}");
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        }
        None
    }

    /// Cancels the jobs that run, and waits for their ends.
    async fn cancel_all(&self, running: &mut JoinSet<()>) {
        let reason = format!("canceled, since Trainyard was stopped on {}", self.host());
        match queue::cancel_running_of(&self.handles.db, self.name(), &reason).await {
            Ok(canceled) => info!(runner = self.name(), "{canceled} running jobs are canceled"),
            Err(error) => warn!(runner = self.name(), "cannot cancel the running jobs: {error}"),
        }
        let all_ended = async { while running.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_OF_JOBS, all_ended).await.is_err() {
            warn!(runner = self.name(), "some jobs have not ended yet; the next start finds them");
        }
    }

    /// Watches the engine until `shutdown`, and reports when its reachability changes.
    pub async fn watch_engine(self: Arc<Self>, shutdown: CancellationToken) {
        self.handles.health.watch(shutdown).await;
    }

    /// Checks the GPUs until `shutdown`.
    pub async fn watch_gpus(self: Arc<Self>, shutdown: CancellationToken) {
        self.handles.gpus.watch(&self.handles.health, shutdown).await;
    }

    /// Keeps containers ready until `shutdown`.
    pub async fn keep_ready(self: Arc<Self>, shutdown: CancellationToken) {
        self.handles.engine.keep_ready(shutdown).await;
    }

    /// Makes and removes checkout images until `shutdown`.
    pub async fn keep_checkout_images(self: Arc<Self>, shutdown: CancellationToken) {
        self.handles.checkout_images.keep(&self.handles.health, shutdown).await;
    }

    /// Claims one job and runs it to its end; for tests. Returns `None` when no job is queued.
    pub async fn step(self: &Arc<Self>) -> anyhow::Result<Option<crate::domain::JobId>> {
        let Some(job) = self.claim().await.context("claiming a job")? else {
            return Ok(None);
        };
        let id = job.id;
        run::run(Arc::clone(&self.handles), job, None, None).await;
        Ok(Some(id))
    }

    /// Checks the GPUs once; for tests.
    ///
    /// # Errors
    /// Fails when the engine or Postgres does not answer; then no GPU becomes free.
    pub async fn check_gpus(&self) -> anyhow::Result<()> {
        self.handles.gpus.check().await
    }

    /// Claims a job. Jobs with requirements come first: a GPU costs more than a slot, and a job that can use it should
    /// not wait behind jobs for which any slot would do.
    async fn claim(&self) -> anyhow::Result<Option<Claimed>> {
        let Handles { db, health, gpus, presence, settings, .. } = &*self.handles;
        // The janitor reports the lack of room.
        if settings.room.wanting()?.is_some() || health.wanting_room()?.is_some() {
            return Ok(None);
        }
        let can_meet_requirements = gpus.may_exist() || !presence.labels.is_empty();
        let (name, limits) = (&presence.name, &settings.queue);
        if can_meet_requirements && let Some(job) = queue::claim_with_requirements(db, name, LEASE, limits).await? {
            return Ok(Some(job));
        }
        Ok(match limits.is_unlimited() {
            true => queue::claim(db, name, LEASE).await?,
            false => queue::claim_limited(db, name, LEASE, limits).await?,
        })
    }

    /// Returns true if the engine answered when it was last asked.
    pub fn is_reachable(&self) -> bool {
        self.handles.health.is_reachable()
    }

    /// Returns why no job begins on the disk of the runner's engine. Returns `None` when the disk has room, or is on
    /// another machine.
    ///
    /// # Errors
    /// Fails when the disk cannot be examined.
    pub fn wanting_room(&self) -> anyhow::Result<Option<String>> {
        self.handles.health.wanting_room()
    }
}
