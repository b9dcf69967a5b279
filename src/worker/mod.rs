//! Claims jobs for one runner and sees each through: container, log, verdict.
//!
//! A worker that dies leaves its containers running. The next process finds them by their labels, goes on with their
//! logs at the stored offset, and finishes them.

mod artifacts;
mod checkout_images;
mod cache;
mod engine;
mod follow;
mod gpus;
mod log;
mod mask;
mod measure;
mod prepare;
mod recover;
mod run;
mod runner;
mod secrets;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use sqlx::PgPool;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use url::Url;

use crate::attempt::Images;
use crate::executor::{Docker, Limits, Mount, NvidiaSmi, Pool};
use crate::git::Mirrors;
use crate::gpu;
use crate::storage::{Caches, Keys, Logs, Objects, Room};
use crate::store::queue::{self, Claimed};
use crate::store::repo_keys::RepoKeys;
use crate::store::wakeup::bell::Bells;
use checkout_images::CheckoutImages;
pub use gpus::{GpuConfig, GpuWord, ListedGpu};
pub use runner::RunnerConfig;

/// How long a job is ours without a beat. Another worker takes it up at the latest this much after ours is lost.
pub const LEASE: Duration = Duration::from_secs(6);
/// How often the lease is extended: three beats may be lost before the lease is.
const BEAT_INTERVAL: Duration = Duration::from_millis(1500);
/// How often an engine that is away is asked again.
const ENGINE_RETRY_DELAY: Duration = Duration::from_secs(2);
/// What canceled jobs get to end when the service stops: the graces between signals are the operator's to set.
pub const STOP_OF_JOBS: Duration = Duration::from_secs(60);
/// How long the queue may go unseen when no bell rings; a job whose delay has passed waits no longer than this.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// What every job of a runner gets.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Which image runs what.
    pub images: Images,
    /// What a job may take.
    pub limits: Limits,
    /// The folders of the machine that jobs may read.
    pub mounts: Vec<Mount>,
    /// Who may have GPUs, and what tells of them.
    pub gpu: gpu::Settings,
    /// The server's public address, for the job's environment.
    pub public_url: Url,
    /// Where GitHub's API is, for the releases that jobs publish.
    pub github_api: Url,
    /// Where checkouts are put together.
    pub scratch: PathBuf,
    /// What decrypts the repositories' secrets.
    pub keys: RepoKeys,
    /// What jobs keep for later ones.
    pub caches: Caches,
    /// Where the files that jobs leave are kept, and under which keys.
    pub objects: Option<(Objects, Keys)>,
    /// Where logs are read.
    pub logs: Logs,
    /// Whether there is room for another job.
    pub room: Room,
    /// Whether a stop of the service cancels the jobs that run.
    pub cancel_on_stop: bool,
}

/// The worker of one runner.
#[derive(Debug)]
pub struct Worker {
    name: String,
    /// The machine on which this process runs.
    host: String,
    slots: usize,
    labels: Vec<String>,
    gpus: GpuConfig,
    /// Whether there may be any; until the first look, there may.
    has_gpus: AtomicBool,
    /// Whether there were any, since this process began.
    saw_gpus: AtomicBool,
    smi: NvidiaSmi,
    db: PgPool,
    bells: Bells,
    docker: Docker,
    /// Whether the engine answers, as far as is known.
    there: watch::Sender<bool>,
    /// Where the engine keeps everything, if that is on this machine.
    engine_root: OnceLock<PathBuf>,
    pool: Pool,
    checkout_images: CheckoutImages,
    mirrors: Mirrors,
    settings: Settings,
}

impl Worker {
    /// A worker that has not looked for work yet.
    pub fn new(
        runner: &RunnerConfig,
        docker: Docker,
        (db, bells): (PgPool, Bells),
        mirrors: Mirrors,
        settings: Settings,
    ) -> Self {
        let settings = Settings { limits: runner.limits(&settings.limits), ..settings };
        let RunnerConfig { name, slots, ready, labels, gpus, .. } = runner.clone();
        let smi = NvidiaSmi::new(&settings.gpu, &docker, &settings.images.generic);
        let there = watch::Sender::new(false);
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let (has_gpus, pool) = (AtomicBool::new(true), Pool::new(docker.clone(), ready));
        let engine_root = OnceLock::new();
        Self {
            name,
            host,
            slots,
            labels,
            gpus,
            has_gpus,
            saw_gpus: AtomicBool::new(false),
            smi,
            db,
            bells,
            docker,
            there,
            engine_root,
            pool,
            checkout_images: CheckoutImages::default(),
            mirrors,
            settings,
        }
    }

    /// The runner's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The machine on which this process runs.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Works until `shutdown`. Containers go on running then.
    pub async fn work(self: Arc<Self>, shutdown: CancellationToken) {
        let slots = Arc::new(Semaphore::new(self.slots));
        let mut running = JoinSet::new();
        let adopted = tokio::select! {
            adopted = self.recover() => adopted,
            () = shutdown.cancelled() => return,
        };
        for (job, found) in adopted {
            // More than the slots when they were made fewer meanwhile; then no new job starts until some end.
            let slot = Arc::clone(&slots).try_acquire_owned().ok();
            let worker = Arc::clone(&self);
            running.spawn(async move { worker.run(job, Some(found), slot).await });
        }
        loop {
            while running.try_join_next().is_some() {}
            let slot = tokio::select! {
                slot = self.free_slot(&slots) => slot,
                () = shutdown.cancelled() => break,
            };
            // While the engine is away, jobs wait for it, or for another runner.
            tokio::select! {
                () = self.until_there() => {}
                () = shutdown.cancelled() => break,
            }
            let look = async {
                match self.claim().await {
                    Ok(Some(job)) => Some(job),
                    Ok(None) => {
                        self.bells.worker.wait(POLL_INTERVAL).await;
                        None
                    }
                    Err(error) => {
                        warn!(runner = self.name, "cannot look for jobs: {error:#}");
                        tokio::time::sleep(POLL_INTERVAL).await;
                        None
                    }
                }
            };
            // A claim that is under way when the shutdown comes is carried to its end, or its job would wait a lease.
            let Some(job) = look.await else { continue };
            let worker = Arc::clone(&self);
            running.spawn(async move { worker.run(job, None, Some(slot)).await });
            // At most one job meets an engine that has just gone away.
            if self.docker.version().await.is_err() {
                self.engine_is_away();
            }
        }
        if self.settings.cancel_on_stop {
            self.cancel_all(&mut running).await;
        } else if !running.is_empty() {
            info!(runner = self.name, "{} running jobs go on; the next start finds them", running.len());
        }
        running.shutdown().await;
    }

    /// Waits for a slot. Meanwhile a job that gives way may be told so: whoever waits for its GPUs gets its slot, too.
    async fn free_slot(&self, slots: &Arc<Semaphore>) -> OwnedSemaphorePermit {
        let slot = Arc::clone(slots).acquire_owned();
        tokio::pin!(slot);
        loop {
            tokio::select! {
                slot = &mut slot => return slot.unwrap_or_else(|_| unreachable!("never closed")),
                () = tokio::time::sleep(POLL_INTERVAL) => {}
            }
            if self.has_gpus.load(Ordering::Relaxed)
                && let Err(error) = queue::mark_preemptions(&self.db, &self.name).await
            {
                warn!(runner = self.name, "cannot look who has to give way: {error}");
            }
        }
    }

    /// Cancels the jobs that run, and waits for their ends.
    async fn cancel_all(&self, running: &mut JoinSet<()>) {
        let reason = format!("canceled, since Trainyard was stopped on {}", self.host);
        match queue::cancel_running_of(&self.db, &self.name, &reason).await {
            Ok(canceled) => info!(runner = self.name, "{canceled} running jobs are canceled"),
            Err(error) => warn!(runner = self.name, "cannot cancel the running jobs: {error}"),
        }
        let all_ended = async { while running.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_OF_JOBS, all_ended).await.is_err() {
            warn!(runner = self.name, "some jobs have not ended yet; the next start finds them");
        }
    }

    /// Keeps containers ready until `shutdown`.
    pub async fn keep_ready(self: Arc<Self>, shutdown: CancellationToken) {
        self.pool.keep(shutdown).await;
    }

    /// Claims one job and sees it through; for tests. None when none is queued.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn step(self: &Arc<Self>) -> anyhow::Result<Option<crate::domain::JobId>> {
        let Some(job) = self.claim().await.context("claiming a job")? else {
            return Ok(None);
        };
        let id = job.id;
        Arc::clone(self).run(job, None, None).await;
        Ok(Some(id))
    }

    /// Claims a job. Those with needs come first: a GPU costs more than a slot, and whoever can use it shall not wait behind
    /// jobs that would find a slot elsewhere.
    async fn claim(&self) -> anyhow::Result<Option<Claimed>> {
        // The janitor tells of it.
        if self.settings.room.wanting()?.is_some() || self.wanting_room()?.is_some() {
            return Ok(None);
        }
        let can_meet_needs = self.has_gpus.load(Ordering::Relaxed) || !self.labels.is_empty();
        if can_meet_needs && let Some(job) = queue::claim_with_requirements(&self.db, &self.name, LEASE).await? {
            return Ok(Some(job));
        }
        Ok(queue::claim(&self.db, &self.name, LEASE).await?)
    }

    /// What is wrong with the disk of its engine, in words; none when it has room, or is another machine's.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn wanting_room(&self) -> anyhow::Result<Option<String>> {
        match self.engine_root.get() {
            Some(root) if root.exists() => self.settings.room.wanting_at(root),
            _ => Ok(None),
        }
    }
}
