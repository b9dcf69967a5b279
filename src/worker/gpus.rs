//! The GPUs of a runner: which exist, and which are empty.
//!
//! A GPU becomes free only after `nvidia-smi` has reported it empty while no container of ours exists that could use
//! it. So no job meets what another job left on a GPU, or the container of a lost worker.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::Database;
use super::engine::EngineHealth;
use super::runner::{Presence, RunnerConfig};
use crate::domain::GpuUse;
use crate::executor::{Engine, ExecError, NvidiaSmi};
use crate::gpu::{self, Asking, Device};
use crate::store::alerts;
use crate::store::builds::BuildFacts;
use crate::store::queue::Claimed;
use crate::store::runner::gpus::{self, Seen};

/// The interval between checks of the GPUs that no job holds: a GPU that another program uses is given to no job.
const POLL_INTERVAL: Duration = Duration::from_secs(10);

/// The GPUs of a runner, in its configuration.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged, expecting = "`gpus` must be \"auto\", \"none\" or a list of { uuid, name, memory, class }")]
pub enum RunnerGpus {
    Keyword(GpuKeyword),
    /// The GPUs of this list and no others.
    Listed(Vec<ListedGpu>),
}

/// A word in place of a list of GPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GpuKeyword {
    /// The GPUs that `nvidia-smi` finds.
    Auto,
    /// No GPUs, even if the machine has some.
    None,
}

/// A GPU of the configuration.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListedGpu {
    /// UUID, as `nvidia-smi -L` prints it.
    pub uuid: String,
    /// Model; by default what `nvidia-smi` reports.
    pub name: Option<String>,
    /// Memory; by default what `nvidia-smi` reports.
    pub memory: Option<bytesize::ByteSize>,
    /// Class; by default the model.
    pub class: Option<String>,
}

impl Default for RunnerGpus {
    fn default() -> Self {
        Self::Keyword(GpuKeyword::Auto)
    }
}

/// The GPUs of one runner.
#[derive(Debug)]
pub(super) struct GpuInventory {
    config: RunnerGpus,
    smi: NvidiaSmi,
    engine: Engine,
    presence: Presence,
    database: Database,
    access: gpu::GpuConfig,
    /// False once a check found no GPUs.
    may_exist: AtomicBool,
    /// True once a check of this process found GPUs.
    were_seen: AtomicBool,
}

/// The GPUs of a job, for a statement about it.
#[derive(Debug, Default)]
pub(super) struct Hardware {
    pub(super) models: Vec<String>,
    /// Version of the driver.
    pub(super) driver: Option<String>,
}

impl GpuInventory {
    pub(super) fn new(
        runner: &RunnerConfig,
        smi: NvidiaSmi,
        engine: Engine,
        presence: Presence,
        database: Database,
        access: gpu::GpuConfig,
    ) -> Self {
        let (may_exist, were_seen) = (AtomicBool::new(true), AtomicBool::new(false));
        Self { config: runner.gpus.clone(), smi, engine, presence, database, access, may_exist, were_seen }
    }

    /// Returns false if the runner has no GPUs. Before the first check it may have some.
    pub(super) fn may_exist(&self) -> bool {
        self.may_exist.load(Ordering::Relaxed)
    }

    /// Checks the GPUs again and again, until `shutdown`.
    pub(super) async fn watch(&self, health: &EngineHealth, shutdown: CancellationToken) {
        let checks = async {
            loop {
                if let Err(error) = self.check_or_wait(health).await {
                    warn!(runner = self.presence.name, "cannot check the GPUs: {error:#}");
                }
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        };
        tokio::select! {
            () = checks => {}
            () = shutdown.cancelled() => {}
        }
        self.smi.tidy_up().await;
    }

    /// Checks the GPUs if the engine can be reached. The runner announces itself in either case.
    async fn check_or_wait(&self, health: &EngineHealth) -> anyhow::Result<()> {
        self.presence.announce(&self.database.pool).await?;
        if tokio::time::timeout(POLL_INTERVAL, health.until_reachable()).await.is_ok() {
            return self.check().await;
        }
        gpus::quarantine_all(&self.database.pool, &self.presence.name, "its runner cannot be reached").await?;
        Ok(())
    }

    /// Stores the runner's GPUs, and frees those that no job holds and that are empty.
    ///
    /// # Errors
    /// Fails when the engine or Postgres does not answer; then no GPU becomes free.
    pub(super) async fn check(&self) -> anyhow::Result<()> {
        let (name, db) = (&self.presence.name, &self.database.pool);
        self.presence.announce(db).await?;
        let begun = gpus::now(db).await?;
        let devices = match self.devices().await {
            Ok(devices) => devices,
            Err(error) => {
                let reason = format!("{error:#}");
                gpus::quarantine_all(db, name, &reason).await?;
                return self.record_alert(Some(&reason)).await;
            }
        };
        let in_use: HashSet<String> = match devices.is_empty() {
            true => HashSet::new(),
            false => self.engine.list().await?.into_iter().flat_map(|found| found.gpus).collect(),
        };
        let mut seen = self.seen(devices);
        self.may_exist.store(!seen.is_empty(), Ordering::Relaxed);
        self.were_seen.fetch_or(!seen.is_empty(), Ordering::Relaxed);
        for gpu in seen.iter_mut().filter(|gpu| in_use.contains(&gpu.uuid)) {
            gpu.unusable.get_or_insert_with(|| "the container of its last job is still there".to_owned());
        }
        let checked = gpus::record_check(db, name, begun, &seen).await.context("storing the list of GPUs")?;
        for (uuid, reason) in &checked.quarantined {
            warn!(runner = name, gpu = uuid, "the GPU {uuid} is quarantined: {reason}");
        }
        if !checked.freed.is_empty() {
            info!(runner = name, "free GPUs: {}", checked.freed.join(", "));
            self.database.bells.worker.ring();
        }
        let others = checked.of_others.join(", ");
        let clash = (!others.is_empty())
            .then(|| format!("another runner has these GPUs, too: {others}; list those of each runner in its `gpus`"));
        self.record_alert(clash.as_deref()).await
    }

    /// Returns the devices that `nvidia-smi` reports, if the configuration wants any.
    async fn devices(&self) -> anyhow::Result<Vec<Device>> {
        match &self.config {
            RunnerGpus::Keyword(GpuKeyword::None) => Ok(Vec::new()),
            // A machine that shuts down or starts may be without its driver for a moment.
            RunnerGpus::Keyword(GpuKeyword::Auto) => self.smi.devices().await.and_then(|devices| {
                let vanished = devices.is_none() && self.were_seen.load(Ordering::Relaxed);
                anyhow::ensure!(
                    !vanished,
                    "nvidia-smi is gone (gpu.nvidia_smi); if the runner's GPUs were removed, restart Trainyard"
                );
                Ok(devices.unwrap_or_default())
            }),
            RunnerGpus::Listed(_) => self.smi.devices().await.and_then(|devices| {
                devices.ok_or_else(|| {
                    anyhow!("nvidia-smi was not found, so that nothing checks that the GPUs are empty (gpu.nvidia_smi)")
                })
            }),
        }
    }

    /// Returns the runner's GPUs, from its configuration and the devices that were found.
    fn seen(&self, devices: Vec<Device>) -> Vec<Seen> {
        let bytes = |memory: u64| i64::try_from(memory).unwrap_or(i64::MAX);
        let RunnerGpus::Listed(listed) = &self.config else {
            let seen = devices.into_iter().map(|Device { uuid, name, memory, unusable }| Seen {
                uuid,
                class: name.clone(),
                name,
                memory: bytes(memory),
                unusable,
            });
            return seen.collect();
        };
        let seen = listed.iter().map(|gpu| {
            let found = devices.iter().find(|device| device.uuid == gpu.uuid);
            let name = gpu.name.clone().or(found.map(|device| device.name.clone())).unwrap_or_default();
            let memory = gpu.memory.map(|memory| memory.as_u64()).or(found.map(|device| device.memory));
            Seen {
                uuid: gpu.uuid.clone(),
                class: gpu.class.clone().unwrap_or_else(|| name.clone()),
                name,
                memory: bytes(memory.unwrap_or(0)),
                unusable: match found {
                    Some(device) => device.unusable.clone(),
                    None => {
                        Some("nvidia-smi does not list it: compare its UUID with those of nvidia-smi -L".to_owned())
                    }
                },
            }
        });
        seen.collect()
    }

    /// Checks that a job may have the GPUs that it asks for, and that those that it holds are empty.
    ///
    /// # Errors
    /// Returns [`ExecError::Job`] when the job may not have GPUs, and [`ExecError::System`] when a GPU is not empty.
    pub(super) async fn check_job(&self, job: &Claimed, facts: &BuildFacts, image: &str) -> Result<(), ExecError> {
        let repo = facts.repo()?;
        let name = repo.to_string();
        let head = facts.pull_request.map(|_| (!facts.is_fork).then_some(name.as_str()));
        let asking = Asking { repo: &repo, head };
        if let Some(why) = self.access.refusal(job.kind, &job.config, asking, Some(image)) {
            return Err(ExecError::Job(why));
        }
        if job.gpus.is_empty() {
            return Ok(());
        }
        let devices = self.smi.devices().await?.unwrap_or_default();
        for uuid in &job.gpus {
            let device = devices.iter().find(|device| device.uuid == *uuid);
            let device = device.with_context(|| format!("the GPU {uuid} is gone"))?;
            if let Some(reason) = &device.unusable {
                return Err(ExecError::System(anyhow!("the GPU {uuid} is not empty: {reason}")));
            }
        }
        Ok(())
    }

    /// Returns what the job's GPUs do now; `None` when there is no `nvidia-smi`.
    pub(super) async fn usage(&self, uuids: &[String]) -> anyhow::Result<Option<GpuUse>> {
        self.smi.in_use(uuids).await
    }

    /// Returns the models of these GPUs and the version of their driver, as far as `nvidia-smi` tells: a statement
    /// without them is better than none.
    pub(super) async fn hardware(&self, uuids: &[String]) -> Hardware {
        if uuids.is_empty() {
            return Hardware::default();
        }
        let asked = async { anyhow::Ok((self.smi.devices().await?.unwrap_or_default(), self.smi.driver().await?)) };
        let (devices, driver) = match asked.await {
            Ok(told) => told,
            Err(error) => {
                warn!(runner = self.presence.name, "cannot read the models of the GPUs: {error:#}");
                return Hardware::default();
            }
        };
        let model =
            |uuid: &String| devices.iter().find(|device| device.uuid == *uuid).map(|device| device.name.clone());
        Hardware { models: uuids.iter().filter_map(model).collect(), driver }
    }

    async fn record_alert(&self, alert: Option<&str>) -> anyhow::Result<()> {
        let changed =
            alerts::set(&self.database.pool, &format!("GPUs of runner {}", self.presence.name), alert).await?;
        match alert.filter(|_| changed) {
            Some(alert) => error!(runner = self.presence.name, "the GPUs cannot be used: {alert}"),
            None if changed => info!(runner = self.presence.name, "the GPUs can be used again"),
            None => {}
        }
        Ok(())
    }
}
