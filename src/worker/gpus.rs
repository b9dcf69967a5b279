//! The runner's GPUs: which there are, and which are empty.
//!
//! A GPU is free only after `nvidia-smi` has seen it empty, and no container of ours is there that could use it. So what
//! a job leaves behind, or a lost worker's container, never meets the next job.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::Worker;
use crate::executor::ExecError;
use crate::gpu::{Asking, Device};
use crate::store::alerts;
use crate::store::builds::BuildFacts;
use crate::store::queue::Claimed;
use crate::store::runner::gpus::{self, Seen};
use crate::store::runner::runners::{self, Runner};

/// How often the GPUs that no job holds are looked at: one that somebody else uses is not given to a job then.
const POLL_INTERVAL: Duration = Duration::from_secs(10);

/// Which GPUs a runner has.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged, expecting = "`gpus` must be \"auto\", \"none\" or a list of { uuid, name, memory, class }")]
pub enum GpuConfig {
    /// By a word.
    Word(GpuWord),
    /// These and no others.
    Listed(Vec<ListedGpu>),
}

/// See [`GpuConfig`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GpuWord {
    /// Those that `nvidia-smi` finds.
    Auto,
    /// None, whatever the machine has.
    None,
}

/// A GPU of the configuration.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListedGpu {
    /// Its UUID, as `nvidia-smi -L` says it.
    pub uuid: String,
    /// Its model; what `nvidia-smi` says when it is not given.
    pub name: Option<String>,
    /// Its memory; what `nvidia-smi` says when it is not given.
    pub memory: Option<bytesize::ByteSize>,
    /// Its class; its model when it is not given.
    pub class: Option<String>,
}

impl Default for GpuConfig {
    fn default() -> Self {
        Self::Word(GpuWord::Auto)
    }
}

impl Worker {
    /// Looks at the GPUs again and again, until `shutdown`.
    pub async fn keep_gpus(self: Arc<Self>, shutdown: CancellationToken) {
        let look = async {
            loop {
                if let Err(error) = self.look_or_wait().await {
                    warn!(runner = self.name, "cannot look at the GPUs: {error:#}");
                }
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        };
        tokio::select! {
            () = look => {}
            () = shutdown.cancelled() => {}
        }
        self.smi.tidy_up().await;
    }

    /// Looks at the GPUs, if the engine can be reached; tells that the runner is served in either case.
    async fn look_or_wait(&self) -> anyhow::Result<()> {
        self.tell().await?;
        if tokio::time::timeout(POLL_INTERVAL, self.until_there()).await.is_ok() {
            return self.check_gpus().await;
        }
        gpus::quarantine_all(&self.db, &self.name, "its runner cannot be reached").await?;
        Ok(())
    }

    /// Tells that the runner is there and who serves it.
    async fn tell(&self) -> anyhow::Result<()> {
        let endpoint = self.docker.endpoint().to_string();
        let (name, host, labels) = (&self.name, &self.host, &self.labels);
        let runner = Runner { name, endpoint: &endpoint, slots: self.slots, labels, host };
        runners::upsert(&self.db, &runner).await.context("telling of the runner")
    }

    /// Tells which GPUs the runner has, and which of those that no job holds are empty.
    ///
    /// # Errors
    /// When the engine or Postgres does not answer; then nothing is free that was not.
    pub async fn check_gpus(&self) -> anyhow::Result<()> {
        let name = &self.name;
        self.tell().await?;
        let begun = gpus::now(&self.db).await?;
        let devices = match &self.gpus {
            GpuConfig::Word(GpuWord::None) => Ok(Vec::new()),
            // One that goes down, or is put up again, may be without its driver for a moment.
            GpuConfig::Word(GpuWord::Auto) => self.smi.devices().await.and_then(|devices| {
                let vanished = devices.is_none() && self.saw_gpus.load(Ordering::Relaxed);
                anyhow::ensure!(
                    !vanished,
                    "there is no nvidia-smi any more (gpu.nvidia_smi); if its GPUs are gone, start Trainyard again"
                );
                Ok(devices.unwrap_or_default())
            }),
            GpuConfig::Listed(_) => self.smi.devices().await.and_then(|devices| {
                devices.ok_or_else(|| {
                    anyhow!("there is no nvidia-smi that could tell whether they are empty (gpu.nvidia_smi)")
                })
            }),
        };
        let devices = match devices {
            Ok(devices) => devices,
            Err(error) => {
                let reason = format!("{error:#}");
                gpus::quarantine_all(&self.db, name, &reason).await?;
                return self.record_gpu_alert(Some(&reason)).await;
            }
        };
        let in_use: HashSet<String> = match devices.is_empty() {
            true => HashSet::new(),
            false => self.docker.list().await?.into_iter().flat_map(|found| found.gpus).collect(),
        };
        let mut seen = self.seen(devices);
        self.has_gpus.store(!seen.is_empty(), Ordering::Relaxed);
        self.saw_gpus.fetch_or(!seen.is_empty(), Ordering::Relaxed);
        for gpu in seen.iter_mut().filter(|gpu| in_use.contains(&gpu.uuid)) {
            gpu.trouble.get_or_insert_with(|| "the container of its last job is still there".to_owned());
        }
        let looked = gpus::record_check(&self.db, name, begun, &seen).await.context("storing what GPUs there are")?;
        for (uuid, reason) in &looked.quarantined {
            warn!(runner = name, gpu = uuid, "the GPU {uuid} is quarantined: {reason}");
        }
        if !looked.freed.is_empty() {
            info!(runner = name, "free GPUs: {}", looked.freed.join(", "));
            self.bells.worker.ring();
        }
        let others = looked.of_others.join(", ");
        let clash = (!others.is_empty())
            .then(|| format!("another runner has these GPUs, too: {others}; list those of each in its `gpus`"));
        self.record_gpu_alert(clash.as_deref()).await
    }

    /// The runner's GPUs, by its configuration and what was found.
    fn seen(&self, devices: Vec<Device>) -> Vec<Seen> {
        let bytes = |memory: u64| i64::try_from(memory).unwrap_or(i64::MAX);
        let GpuConfig::Listed(listed) = &self.gpus else {
            let seen = devices.into_iter().map(|Device { uuid, name, memory, trouble }| Seen {
                uuid,
                class: name.clone(),
                name,
                memory: bytes(memory),
                trouble,
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
                trouble: match found {
                    Some(device) => device.trouble.clone(),
                    None => {
                        Some("nvidia-smi does not know it: compare its UUID with those of nvidia-smi -L".to_owned())
                    }
                },
            }
        });
        seen.collect()
    }

    /// Whether the job may have the GPUs that it asks for, and whether those that it holds are empty.
    pub(super) async fn gpus_are_fit(&self, job: &Claimed, facts: &BuildFacts, image: &str) -> Result<(), ExecError> {
        let repo = facts.repo()?;
        let asking = Asking { repo: &repo, head: facts.pull_request.map(|_| facts.head_repo.as_deref()) };
        if let Some(why) = self.settings.gpu.refusal(job.kind, &job.config, asking, Some(image)) {
            return Err(ExecError::Job(why));
        }
        if job.gpus.is_empty() {
            return Ok(());
        }
        let devices = self.smi.devices().await?.unwrap_or_default();
        for uuid in &job.gpus {
            let device = devices.iter().find(|device| device.uuid == *uuid);
            let device = device.with_context(|| format!("the GPU {uuid} is not there any more"))?;
            if let Some(trouble) = &device.trouble {
                return Err(ExecError::System(anyhow!("the GPU {uuid} is not empty: {trouble}")));
            }
        }
        Ok(())
    }

    async fn record_gpu_alert(&self, trouble: Option<&str>) -> anyhow::Result<()> {
        let changed = alerts::set(&self.db, &format!("GPUs of runner {}", self.name), trouble).await?;
        match trouble.filter(|_| changed) {
            Some(trouble) => error!(runner = self.name, "the GPUs cannot be used: {trouble}"),
            None if changed => info!(runner = self.name, "the GPUs can be used again"),
            None => {}
        }
        Ok(())
    }
}
