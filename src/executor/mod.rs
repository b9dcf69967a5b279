//! The engines that run jobs: what a job may take, and the one seam through which a worker drives its engine ([`Engine`]).
//!
//! It knows no database and no build: it is told what to run under which labels, and reports how that ended. Only
//! `executor` names bollard.

pub mod docker;
mod egress_allow;
mod engine;

pub use docker::checkout_image::CheckoutImage;
pub use docker::container::Upload;
pub use docker::examine::EngineReport;
pub use docker::gpu::NvidiaSmi;
pub use docker::{Docker, Endpoint, SshHost, TlsFiles};
pub use egress_allow::AllowedNetwork;
pub use engine::{Engine, Filling};

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use chrono::{DateTime, Utc};
use serde::Deserialize;

use crate::domain::{AttemptId, RepoName};

/// `[limits]` of the configuration: the limits of one job. Every job has all of them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Wall time of the container.
    #[serde(with = "humantime_serde")]
    pub time: Duration,
    /// Time without a byte of output.
    #[serde(with = "humantime_serde")]
    pub silence: Duration,
    /// Size of the log.
    pub log: ByteSize,
    /// Processor time, in processors.
    pub cpus: f64,
    /// Memory; there is no swap beyond it.
    pub memory: ByteSize,
    /// Size of `/dev/shm`, which data loaders use to hand over batches.
    pub shared_memory: ByteSize,
    /// Bytes that a job may write into its file system.
    pub disk: ByteSize,
    /// Size of all artifacts of a job.
    pub artifacts: ByteSize,
    /// Processes and threads.
    pub processes: i64,
    /// Time for a stopping container after SIGINT, and again after SIGTERM, before SIGKILL.
    #[serde(with = "humantime_serde")]
    pub grace: Duration,
    pub network: Network,
    /// Exceptions to the networks that `egress` closes.
    #[serde(alias = "reach")]
    pub egress_allow: Vec<AllowedNetwork>,
}

/// The network that a job sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// The internet, but neither private networks nor the host.
    Egress,
    /// Whatever the host reaches, and the host.
    Full,
    /// None but its own loopback.
    None,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(50 * 60),
            silence: Duration::from_secs(10 * 60),
            log: ByteSize::b(4_500_000),
            cpus: 2.0,
            memory: ByteSize::gib(4),
            shared_memory: ByteSize::gib(1),
            disk: ByteSize::gib(20),
            artifacts: ByteSize::gib(2),
            processes: 4096,
            grace: Duration::from_secs(3),
            network: Network::Egress,
            egress_allow: Vec::new(),
        }
    }
}

/// `[[mount]]` of the configuration: a folder of the machine that jobs of some repositories may read.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// The folder, on the machine of the engine.
    pub host: PathBuf,
    /// Where jobs find it.
    pub target: PathBuf,
    /// The repositories whose jobs may read the folder, as globs on `OWNER/NAME`.
    pub repos: Vec<String>,
}

impl Mount {
    /// Returns true when jobs of this repository may read the folder.
    pub fn is_for(&self, repo: &RepoName) -> bool {
        let repo = repo.to_string();
        self.repos.iter().any(|glob| globset::Glob::new(glob).is_ok_and(|glob| glob.compile_matcher().is_match(&repo)))
    }
}

/// An image on an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its id, which says what runs even if its name is given to another image.
    pub id: String,
    /// True when the image has git.
    pub has_git: bool,
}

/// A container to be made.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The image, by its id or name.
    pub image: String,
    /// The command under the init.
    pub command: Vec<String>,
    /// Its environment, beside the image's.
    pub environment: Vec<(String, String)>,
    pub limits: Limits,
    /// The folders of the machine that it may read.
    pub mounts: Vec<Mount>,
    /// The image of the helper that holds its network; it has to have perl.
    pub helper: String,
    /// The GPUs that it sees, by their UUIDs.
    pub gpus: Vec<String>,
}

/// An attempt's container that the engine has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub container: String,
    /// The attempt of its name.
    pub attempt: AttemptId,
    /// True when the container runs the job; otherwise it helps the container that does.
    pub runs_job: bool,
    /// True when the container was ever started.
    pub started: bool,
    /// True when the container has ended since.
    pub ended: bool,
    /// The GPUs that it sees.
    pub gpus: Vec<String>,
}

/// Where a container is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Life {
    /// Made, never started.
    Created,
    /// Running since then.
    Running(DateTime<Utc>),
    /// Ended.
    Exited(Exit),
    /// The engine does not know it.
    Gone,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// The command's exit status; above 128 a signal ended it.
    pub status: i64,
    /// True when the kernel killed a process in the container because memory ran out.
    pub out_of_memory: bool,
}

/// Why the engine did not do something.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// The job asks for what cannot be: its author has to change something.
    #[error("{0}")]
    Job(String),
    /// The engine or its machine is in trouble: the operator has to look, and the job may be tried again.
    #[error("{0:#}")]
    System(#[from] anyhow::Error),
}
