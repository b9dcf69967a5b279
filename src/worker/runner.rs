//! A runner: its configuration, and its row for the pages.

use anyhow::Context as _;
use bytesize::ByteSize;
use serde::Deserialize;
use sqlx::PgPool;

use super::RunnerGpus;
use crate::executor::{Docker, Endpoint, Limits, TlsFiles};
use crate::store::runner::runners::{self, Runner};

/// A `[[runner]]` of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunnerConfig {
    /// Name, unique among all runners of an installation. A new process finds the running jobs by it.
    pub name: String,
    /// The Docker engine: `unix:///path/to/docker.sock`, `tcp://host:2376` or `ssh://user@host`.
    pub endpoint: String,
    /// The files for mutual TLS, for an endpoint over TCP.
    pub tls: Option<TlsFiles>,
    /// Number of jobs that run at once.
    pub slots: usize,
    /// Number of containers that wait for jobs, started and empty.
    pub ready: usize,
    /// Processor time of each job, in processors, in place of the value in `[limits]`.
    pub cpus: Option<f64>,
    /// Memory of each job, in place of the value in `[limits]`.
    pub memory: Option<ByteSize>,
    /// The engine's runtime for its jobs, such as `runsc` or `sysbox-runc`; the engine's default when empty.
    pub runtime: String,
    /// Labels that jobs may ask for, in addition to GPUs: an unusual architecture or system.
    pub labels: Vec<String>,
    /// GPUs that jobs may get.
    pub gpus: RunnerGpus,
}

impl RunnerConfig {
    /// Returns true when its jobs use the kernel's own network, where the rules of the egress gateway hold. Sandboxes
    /// and virtual machines have their own network, and under sysbox a job's root controls it.
    pub fn keeps_to_routes(&self) -> bool {
        ["", "runc", "crun", "io.containerd.runc.v2", "nvidia"].contains(&self.runtime.as_str())
    }

    /// Returns the address of the engine.
    ///
    /// # Errors
    /// Fails when the address or its TLS files are not valid.
    pub fn endpoint(&self) -> anyhow::Result<Endpoint> {
        Endpoint::parse(&self.endpoint, self.tls.as_ref())
    }

    /// Returns the client of its engine.
    ///
    /// # Errors
    /// Fails when its endpoint is of a kind that is not supported.
    pub fn docker(&self, instance: &str) -> anyhow::Result<Docker> {
        let runtime = Some(self.runtime.clone()).filter(|runtime| !runtime.is_empty());
        Ok(Docker::new(self.endpoint()?, instance).with_runtime(runtime))
    }

    /// Returns the limits of its jobs, where `limits` are those of all other runners.
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
            gpus: RunnerGpus::default(),
        }
    }
}

/// A runner's row, which shows that the runner exists and that this process serves it.
#[derive(Debug, Clone)]
pub(super) struct Presence {
    pub(super) name: String,
    /// The machine on which this process runs.
    pub(super) host: String,
    endpoint: String,
    slots: usize,
    pub(super) labels: Vec<String>,
}

impl Presence {
    pub(super) fn new(runner: &RunnerConfig, endpoint: &Endpoint) -> Self {
        let RunnerConfig { name, slots, labels, .. } = runner.clone();
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self { name, host, endpoint: endpoint.to_string(), slots, labels }
    }

    /// Stores the row, with the current time.
    pub(super) async fn announce(&self, db: &PgPool) -> anyhow::Result<()> {
        let Self { name, host, endpoint, slots, labels } = self;
        runners::upsert(db, &Runner { name, endpoint, slots: *slots, labels, host }).await.context("storing the runner")
    }
}
