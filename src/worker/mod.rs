//! Claims jobs for one runner and sees each through: container, log, verdict.
//!
//! A worker that dies leaves its containers running. The next process finds them by their labels, goes on with their
//! logs at the stored offset, and finishes them.

mod artifacts;
mod cache;
mod engine;
mod follow;
mod gpus;
mod log;
mod mask;
mod measure;
mod prepare;
mod run;
mod secrets;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use bytesize::ByteSize;
use serde::Deserialize;
use sqlx::PgPool;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use url::Url;

use crate::attempt::Images;
use crate::executor::{Docker, Endpoint, Found, Limits, Mount, NvidiaSmi, Pool, TlsFiles};
use crate::git::Mirrors;
use crate::gpu;
use crate::storage::{Caches, Keys, Logs, Objects, Room};
use crate::store::bell::Bells;
use crate::store::jobs::{self, Claimed};
use crate::store::repo_keys::RepoKeys;
pub use gpus::{GpuConfig, GpuWord, ListedGpu};

/// How long a job is ours without a beat. Another worker takes it up at the latest this much after ours is lost.
pub const LEASE: Duration = Duration::from_secs(6);
/// How often the lease is extended: three beats may be lost before the lease is.
const BEAT: Duration = Duration::from_millis(1500);
/// How often an engine that is away is asked again.
const ENGINE_RETRY: Duration = Duration::from_secs(2);
/// What canceled jobs get to end when the service stops: the graces between signals are the operator's to set.
pub const STOP_OF_JOBS: Duration = Duration::from_secs(60);
/// How long the queue may go unseen when no bell rings; a job whose delay has passed waits no longer than this.
const LOOK: Duration = Duration::from_secs(1);

/// One `[[runner]]` of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunnerConfig {
    /// Its name, unique among all runners of an installation; running jobs are found again by it.
    pub name: String,
    /// The Docker engine: `unix:///path/to/docker.sock`, `tcp://host:2376` or `ssh://user@host`.
    pub endpoint: String,
    /// What proves who is who over TCP.
    pub tls: Option<TlsFiles>,
    /// How many jobs it runs at once.
    pub slots: usize,
    /// How many containers wait for jobs, started and empty.
    pub ready: usize,
    /// Processor time of each job, in processors, instead of that of `[limits]`.
    pub cpus: Option<f64>,
    /// Memory of each job, instead of that of `[limits]`.
    pub memory: Option<ByteSize>,
    /// The engine's runtime for its jobs, such as `runsc` or `sysbox-runc`; the engine's default when empty.
    pub runtime: String,
    /// What jobs may ask for beside GPUs: an architecture or a system that is not the usual one.
    pub labels: Vec<String>,
    /// Its GPUs.
    pub gpus: GpuConfig,
}

impl RunnerConfig {
    /// Whether its jobs use the kernel's own network, where rules that others set for them hold. Sandboxes and virtual
    /// machines have a network of their own, and sysbox makes a job's root the lord of it.
    pub fn keeps_to_routes(&self) -> bool {
        ["", "runc", "crun", "io.containerd.runc.v2", "nvidia"].contains(&self.runtime.as_str())
    }

    /// Where its engine is.
    ///
    /// # Errors
    /// In words for the operator.
    pub fn endpoint(&self) -> anyhow::Result<Endpoint> {
        Endpoint::parse(&self.endpoint, self.tls.as_ref())
    }

    /// What drives its engine.
    ///
    /// # Errors
    /// When its endpoint is of a kind that is not supported.
    pub fn docker(&self, instance: &str) -> anyhow::Result<Docker> {
        let runtime = Some(self.runtime.clone()).filter(|runtime| !runtime.is_empty());
        Ok(Docker::new(self.endpoint()?, instance).with_runtime(runtime))
    }

    /// What its jobs may take, where all others may take `limits`.
    pub fn limits(&self, limits: &Limits) -> Limits {
        let (cpus, memory) = (self.cpus.unwrap_or(limits.cpus), self.memory.unwrap_or(limits.memory));
        Limits { cpus, memory, ..limits.clone() }
    }
}

impl Default for RunnerConfig {
    fn default() -> Self {
        Self {
            name: "local".to_owned(),
            endpoint: "unix:///var/run/docker.sock".to_owned(),
            slots: 2,
            ready: 2,
            tls: None,
            cpus: None,
            memory: None,
            runtime: String::new(),
            labels: Vec::new(),
            gpus: GpuConfig::default(),
        }
    }
}

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
                        self.bells.worker.wait(LOOK).await;
                        None
                    }
                    Err(error) => {
                        warn!(runner = self.name, "cannot look for jobs: {error:#}");
                        tokio::time::sleep(LOOK).await;
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
                () = tokio::time::sleep(LOOK) => {}
            }
            if self.has_gpus.load(Ordering::Relaxed)
                && let Err(error) = jobs::tell_who_gives_way(&self.db, &self.name).await
            {
                warn!(runner = self.name, "cannot look who has to give way: {error}");
            }
        }
    }

    /// Cancels the jobs that run, and waits for their ends.
    async fn cancel_all(&self, running: &mut JoinSet<()>) {
        let reason = format!("canceled, since Trainyard was stopped on {}", self.host);
        match jobs::cancel_running_of(&self.db, &self.name, &reason).await {
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
        if can_meet_needs && let Some(job) = jobs::claim_with_needs(&self.db, &self.name, LEASE).await? {
            return Ok(Some(job));
        }
        Ok(jobs::claim(&self.db, &self.name, LEASE).await?)
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

    /// Finds the containers of an earlier process, and gives those to go on with; tries until it can tell. Until then
    /// their leases are held: they run on, maybe, on an engine that is away.
    async fn recover(&self) -> Vec<(Claimed, Found)> {
        tokio::select! {
            adopted = self.find_running() => adopted,
            () = self.hold_leases() => unreachable!("it holds them until it is dropped"),
        }
    }

    async fn hold_leases(&self) {
        loop {
            for fence in jobs::running_of(&self.db, &self.name).await.unwrap_or_default() {
                if let Err(error) = jobs::beat(&self.db, fence, LEASE).await {
                    warn!(job = %fence.0, "cannot extend the lease of job {}: {error}", fence.0);
                }
            }
            tokio::time::sleep(BEAT).await;
        }
    }

    async fn find_running(&self) -> Vec<(Claimed, Found)> {
        loop {
            // An engine that is away is told of by who watches it.
            self.until_there().await;
            match self.try_recover().await {
                Ok(adopted) => return adopted,
                Err(trouble) => warn!(runner = self.name, "cannot look for running jobs yet: {trouble:#}"),
            }
            tokio::time::sleep(ENGINE_RETRY).await;
        }
    }

    /// One try of [`Worker::recover`]: adopts what is ours, removes what is nobody's, and gives back what was lost.
    ///
    /// # Errors
    /// When the engine or Postgres does not answer; nothing is lost then.
    pub async fn try_recover(&self) -> anyhow::Result<Vec<(Claimed, Found)>> {
        if matches!(self.docker.endpoint(), Endpoint::Unix(_))
            && let Some(root) = self.docker.root().await?
        {
            let _ = self.engine_root.set(root);
        }
        let mut adopted = Vec::new();
        let (own, helpers): (Vec<Found>, _) = self.docker.list().await?.into_iter().partition(|found| found.runs_job);
        for found in own {
            let fence = (found.job, found.attempt);
            // One that was never started may lack its files. It did nothing yet, so the job can simply begin again.
            let job = if found.started { jobs::adopt(&self.db, fence, &self.name, LEASE).await? } else { None };
            match job {
                Some(job) => {
                    info!(runner = self.name, "going on with job {} at byte {} of its log", job.id, job.log_length);
                    adopted.push((job, found));
                }
                None => self.docker.remove(&found.container).await?,
            }
        }
        for helper in helpers {
            if !adopted.iter().any(|(job, _)| (job.id, job.attempt) == (helper.job, helper.attempt)) {
                self.docker.remove(&helper.container).await?;
            }
        }
        for container in self.docker.list_ready().await? {
            // It may be looked with already, and goes on to be of use.
            if !self.docker.looks_at_gpus(&container) {
                self.docker.remove(&container).await?;
            }
        }
        for fence in jobs::running_of(&self.db, &self.name).await? {
            if !adopted.iter().any(|(job, _)| (job.id, job.attempt) == fence) {
                warn!(runner = self.name, "job {} was claimed but has no container: it begins again", fence.0);
                jobs::requeue(&self.db, fence, Duration::ZERO, "its container was lost").await?;
            }
        }
        Ok(adopted)
    }

    /// Removes containers that neither a running attempt nor the pool accounts for.
    ///
    /// # Errors
    /// When the engine or Postgres does not answer.
    pub async fn reap(&self) -> anyhow::Result<()> {
        let containers = self.docker.list().await?;
        let running = jobs::running_of(&self.db, &self.name).await?;
        for orphan in containers.into_iter().filter(|found| !running.contains(&(found.job, found.attempt))) {
            info!(runner = self.name, "removing the container of job {}, which nobody runs any more", orphan.job);
            self.docker.remove(&orphan.container).await?;
        }
        for orphan in self.docker.list_ready().await? {
            let looks = self.docker.looks_at_gpus(&orphan) || self.docker.looks_into_image(&orphan);
            // Asked after the list was made: one that was taken meanwhile has another name.
            if !looks && !self.pool.knows(&orphan) {
                self.docker.remove(&orphan).await?;
            }
        }
        Ok(())
    }
}
