//! The examination of an engine: whether jobs can run on it.

use std::path::PathBuf;

use anyhow::Context as _;
use bollard::models::{SystemInfo, SystemInfoCgroupVersionEnum};

use super::{Docker, PROMPT, image};

/// The engine's report on itself. A fact that it does not report is empty, `None`, or taken as fine.
#[derive(Debug, Clone, Default)]
pub struct EngineReport {
    pub version: String,
    /// Version of runc, or of the runtime in its place.
    pub runc: Option<String>,
    /// The driver that stores images and containers, such as `overlay2`.
    pub storage_driver: String,
    /// Version of the kernel's control groups, 1 or 2.
    pub cgroups: Option<u8>,
    /// The folder in which the engine keeps all its data, on its own machine.
    pub root: Option<PathBuf>,
    /// Number of processors of the machine.
    pub processors: Option<u32>,
    /// Bytes of memory of the machine.
    pub memory: Option<u64>,
    /// True when the engine knows the runtime that brings GPUs into containers.
    pub has_nvidia_runtime: bool,
    /// Limits of jobs that the engine cannot enforce, by their settings' names.
    pub cannot_limit: Vec<&'static str>,
    /// The engine's own warnings.
    pub warnings: Vec<String>,
    /// Names of the images, with their tags.
    pub images: Vec<String>,
}

/// Asks the engine for facts about itself; changes nothing.
pub async fn examine(docker: &Docker) -> anyhow::Result<EngineReport> {
    // The error of an engine that is away names what to do.
    let version = docker.version().await?;
    let client = docker.client()?;
    let info = tokio::time::timeout(PROMPT, client.info()).await.context("no answer in time")??;
    let images = image::names(docker).await?;
    let runc = client.version().await?.components.into_iter().flatten().find(|part| part.name == "runc");
    Ok(EngineReport { version, runc: runc.map(|part| part.version), images, ..of(info) })
}

/// Returns the folder in which the engine keeps all its data, on its own machine.
pub async fn root(docker: &Docker) -> anyhow::Result<Option<PathBuf>> {
    let info = tokio::time::timeout(PROMPT, docker.client()?.info()).await.context("no answer in time")??;
    Ok(info.docker_root_dir.map(PathBuf::from))
}

fn of(info: SystemInfo) -> EngineReport {
    let cannot = [
        (info.memory_limit, "memory"),
        (info.swap_limit, "memory (a job may also use swap)"),
        (info.cpu_cfs_quota, "cpus"),
        (info.pids_limit, "processes"),
    ];
    EngineReport {
        storage_driver: info.driver.unwrap_or_default(),
        cgroups: match info.cgroup_version {
            Some(SystemInfoCgroupVersionEnum::_1) => Some(1),
            Some(SystemInfoCgroupVersionEnum::_2) => Some(2),
            Some(SystemInfoCgroupVersionEnum::EMPTY) | None => None,
        },
        root: info.docker_root_dir.map(PathBuf::from),
        processors: info.ncpu.and_then(|count| u32::try_from(count).ok()),
        memory: info.mem_total.and_then(|bytes| u64::try_from(bytes).ok()),
        has_nvidia_runtime: info.runtimes.is_some_and(|runtimes| runtimes.contains_key("nvidia")),
        cannot_limit: cannot.into_iter().filter(|(can, _)| *can == Some(false)).map(|(_, limit)| limit).collect(),
        warnings: info.warnings.unwrap_or_default(),
        ..EngineReport::default()
    }
}
