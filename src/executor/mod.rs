//! The engines that run jobs: the limits of a job, and the interface through which a worker uses its engine
//! ([`Engine`]).
//!
//! This module knows no database and no build: its callers decide what to run under which labels, and it reports how
//! that ended. Only `executor` uses bollard.

pub mod docker;
mod engine;
mod ip_network;

pub use docker::checkout_image::CheckoutImage;
pub use docker::container::Upload;
pub use docker::examine::EngineReport;
pub use docker::gpu::NvidiaSmi;
pub use docker::{Docker, Endpoint, SshHost, TlsFiles};
pub use engine::{Engine, Filling};
pub use ip_network::IpNetwork;

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
    /// Wall time of the container of a train job.
    #[serde(with = "humantime_serde")]
    pub train_time: Duration,
    /// Time without a byte of output.
    #[serde(with = "humantime_serde")]
    pub silence: Duration,
    /// Time in which the GPUs of a job do nothing.
    #[serde(with = "humantime_serde")]
    pub gpu_idle: Duration,
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
    pub egress_allow: Vec<IpNetwork>,
    /// Further networks that `egress` closes.
    pub egress_deny: Vec<IpNetwork>,
}

/// The network that a job sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// The internet, but neither private networks nor the host.
    Egress,
    /// All that the host reaches, and the host.
    Full,
    /// No network except the job's own loopback.
    None,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(50 * 60),
            train_time: Duration::from_secs(24 * 3600),
            silence: Duration::from_secs(10 * 60),
            gpu_idle: Duration::from_secs(30 * 60),
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
            egress_deny: Vec::new(),
        }
    }
}

/// `[[mount]]` of the configuration: a folder of the machine that jobs of some repositories may read.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// The folder, on the machine of the engine.
    pub host: PathBuf,
    /// The path under which jobs find the folder.
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

/// `[[egress]]` of the configuration: the only networks that some jobs reach.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EgressRule {
    /// The repositories of the jobs, as globs on `OWNER/NAME` without regard to case.
    pub repos: Vec<String>,
    /// True when the rule is for pull requests from other repositories alone.
    #[serde(default)]
    pub forks_only: bool,
    /// The networks. What is closed to all jobs stays closed.
    pub only: Vec<IpNetwork>,
}

impl EgressRule {
    /// Returns true when the rule is for this job. `is_fork` is true for a pull request from another repository.
    pub fn is_for(&self, repo: &RepoName, is_fork: bool) -> bool {
        let repo = repo.to_string();
        let fits = |glob: &String| Self::glob(glob).is_ok_and(|glob| glob.compile_matcher().is_match(&repo));
        (is_fork || !self.forks_only) && self.repos.iter().any(fits)
    }

    /// Parses one of `repos`.
    ///
    /// # Errors
    /// Fails when the text is not a glob.
    pub fn glob(text: &str) -> Result<globset::Glob, globset::Error> {
        globset::GlobBuilder::new(text).case_insensitive(true).build()
    }
}

/// An image on an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The image's id, which stays the same when its name is given to another image.
    pub id: String,
    /// True when the image has git.
    pub has_git: bool,
}

/// A container to be made.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Id or name of the image.
    pub image: String,
    /// The command under the init.
    pub command: Vec<String>,
    /// The environment, besides that of the image.
    pub environment: Vec<(String, String)>,
    pub limits: Limits,
    /// The folders of the machine that the container may read.
    pub mounts: Vec<Mount>,
    /// Folders and files with data for one job, which it may read.
    pub inputs: Vec<Mount>,
    /// The only networks that the container reaches; `None` for all that are not closed.
    pub egress_only: Option<Vec<IpNetwork>>,
    /// Image of the helper that holds the container's network. It must contain perl.
    pub helper: String,
    /// UUIDs of the GPUs that the container sees.
    pub gpus: Vec<String>,
}

/// An attempt's container on an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Name of the container.
    pub container: String,
    /// The attempt in the container's name.
    pub attempt: AttemptId,
    /// True when the container runs the job; otherwise it helps the container that does.
    pub runs_job: bool,
    /// True when the container was ever started.
    pub started: bool,
    /// True when the container has ended since.
    pub ended: bool,
    /// UUIDs of the GPUs that the container sees.
    pub gpus: Vec<String>,
}

/// The state of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Life {
    /// The container was made, and never started.
    Created,
    /// The container runs since this time.
    Running(DateTime<Utc>),
    /// The container has ended.
    Exited(Exit),
    /// The engine does not have the container.
    Gone,
}

/// The end of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// Exit status of the command; above 128 when a signal ended it.
    pub status: i64,
    /// True when the kernel killed a process in the container because memory ran out.
    pub out_of_memory: bool,
}

/// The reason why the engine did not do something.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// The job asks for something that is not possible: its author has to change something.
    #[error("{0}")]
    Job(String),
    /// The engine or its machine does not work: the operator has to act, and the job may be tried again.
    #[error("{0:#}")]
    System(#[from] anyhow::Error),
}
