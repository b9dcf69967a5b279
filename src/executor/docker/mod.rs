//! A client for the API of a Docker engine.

pub mod checkout_image;
mod connect;
pub mod container;
mod create;
mod endpoint;
mod errors;
pub mod examine;
pub mod gpu;
mod host_config;
pub mod image;
mod labels;
mod network;
mod tunnel;

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use bollard::container::AttachContainerResults;
use bollard::errors::Error as DockerError;
use bollard::models::ContainerStateStatusEnum;
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, DownloadFromContainerOptionsBuilder, InspectContainerOptionsBuilder,
    KillContainerOptionsBuilder, LogsOptionsBuilder, RemoveContainerOptionsBuilder, StartContainerOptions,
    UploadToContainerOptionsBuilder, WaitContainerOptions,
};
use bytes::Bytes;
use chrono::DateTime;
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use tokio::sync::Mutex;

use super::{ExecError, Exit, Life};
use crate::domain::AttemptId;
use container::archive::{self, Upload};
pub use endpoint::{Endpoint, SshHost, TlsFiles};
use errors::{is_missing, is_status};
use labels::{INSTANCE, gateway_of, probe_of};
use tunnel::Tunnel;

/// The time for a request that the engine answers at once, if it answers at all.
pub(super) const PROMPT: Duration = Duration::from_secs(10);

/// The host's own addresses, and the time when they were read.
#[derive(Debug, Clone, Default)]
struct HostAddresses(Arc<Mutex<Option<ReadAddresses>>>);

type ReadAddresses = (Instant, Vec<String>);

/// The known images by their ids: true when the image contains git.
#[derive(Debug, Clone, Default)]
struct KnownImages(Arc<Mutex<HashMap<String, bool>>>);

/// A Docker engine, as one installation of Trainyard uses it.
#[derive(Debug, Clone)]
pub struct Docker {
    // bollard refuses to make a client while the socket does not exist, and dockerd may start later than this process.
    client: OnceLock<bollard::Docker>,
    endpoint: Endpoint,
    /// The connection to an engine over ssh.
    tunnel: Option<Tunnel>,
    instance: String,
    runtime: Option<String>,
    host: HostAddresses,
    /// True once the engine has refused a disk quota, which only some file systems support.
    no_quota: Arc<AtomicBool>,
    images: KnownImages,
}

impl Docker {
    /// Makes a client of the engine at `endpoint`. Sends nothing yet.
    pub fn new(endpoint: Endpoint, instance: &str) -> Self {
        let tunnel = match &endpoint {
            Endpoint::Ssh(host) => Some(Tunnel::new(host.clone())),
            Endpoint::Unix(_) | Endpoint::Tls { .. } => None,
        };
        Self {
            client: OnceLock::new(),
            endpoint,
            tunnel,
            instance: instance.to_owned(),
            runtime: None,
            host: HostAddresses::default(),
            no_quota: Arc::default(),
            images: KnownImages::default(),
        }
    }

    /// Runs jobs with this runtime of the engine, in place of its default.
    pub fn with_runtime(mut self, runtime: Option<String>) -> Self {
        self.runtime = runtime;
        self
    }

    pub(super) fn client(&self) -> anyhow::Result<&bollard::Docker> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = connect::client(&self.endpoint, self.tunnel.as_ref())?;
        Ok(self.client.get_or_init(|| client))
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Returns the engine's version. The error names what to do.
    pub async fn version(&self) -> anyhow::Result<String> {
        let asked = async {
            let answer = tokio::time::timeout(PROMPT, self.client()?.version()).await;
            Ok(answer.map_err(|_| anyhow!("no answer within {}", humantime::format_duration(PROMPT)))??)
        };
        let asked: anyhow::Result<_> = asked.await;
        let version = match asked {
            Ok(version) => version,
            Err(error) => return Err(connect::unreachable(self, error).await),
        };
        Ok(version.version.unwrap_or_else(|| "unknown".to_owned()))
    }

    /// Returns the prefix of the names of all containers of this installation.
    pub(super) fn prefix(&self) -> String {
        format!("trainyard-{}-", &self.instance[..8.min(self.instance.len())])
    }

    /// Returns the name of an attempt's container. A later process finds the container by its name: unlike a label, a
    /// name can be given to a container that existed before the job. The name is known before the container exists, so
    /// that a container that is only half made can be removed, too.
    pub fn name_of(&self, attempt: AttemptId) -> String {
        format!("{}{attempt}", self.prefix())
    }

    /// Returns the labels of a container, by which this installation recognises it.
    pub(super) fn labels(&self, more: (&str, String)) -> HashMap<String, String> {
        [(INSTANCE, self.instance.clone()), more].map(|(name, value)| (name.to_owned(), value)).into()
    }

    /// Opens a container's standard input.
    pub(super) async fn attach(&self, container: &str) -> anyhow::Result<AttachContainerResults> {
        let options = AttachContainerOptionsBuilder::new().stdin(true).stream(true).build();
        self.client()?.attach_container(container, Some(options)).await.context("attaching to the container")
    }

    /// Extracts files into a container that does not use them yet.
    ///
    /// # Errors
    /// Fails when the files cannot be read or the engine does not accept them.
    pub async fn put(&self, container: &str, upload: Upload) -> Result<(), ExecError> {
        let options = UploadToContainerOptionsBuilder::new().path("/").build();
        let body = bollard::body_try_stream(upload.into_stream());
        self.client()?.upload_to_container(container, Some(options), body).await.context("filling the container")?;
        Ok(())
    }

    /// Extracts a tar at the root of a container that does not use it yet.
    ///
    /// # Errors
    /// Fails when the tar cannot be read or the engine does not accept it.
    pub async fn put_tar(&self, container: &str, tar: impl Read + Send + 'static) -> anyhow::Result<()> {
        let options = UploadToContainerOptionsBuilder::new().path("/").build();
        let body = bollard::body_try_stream(archive::stream_of(tar));
        self.client()?.upload_to_container(container, Some(options), body).await.context("filling the container")
    }

    /// Returns a file or folder of a container, which may have ended, as a tar in which each name begins with the last
    /// part of `path`; `None` when the container has no such path.
    ///
    /// # Errors
    /// Fails when the engine does not answer, or when the container is gone.
    pub async fn tar_of(
        &self,
        container: &str,
        path: &str,
    ) -> anyhow::Result<Option<impl Stream<Item = io::Result<Bytes>> + Unpin + Send + use<>>> {
        let options = DownloadFromContainerOptionsBuilder::new().path(path).build();
        let client = self.client()?.clone();
        let mut pieces = Box::pin(client.download_from_container(container, Some(options)).map_err(io::Error::other));
        match pieces.next().await {
            Some(Err(error)) if is_missing(&error) => Ok(None),
            Some(Err(error)) => Err(error).context("reading from the container"),
            first => Ok(Some(futures::stream::iter(first).chain(pieces))),
        }
    }

    /// Starts a container.
    ///
    /// # Errors
    /// Returns [`ExecError::Job`] when the image cannot run the command.
    pub async fn start(&self, container: &str) -> Result<(), ExecError> {
        let started = self.client()?.start_container(container, None::<StartContainerOptions>).await;
        match started {
            // This is runc's error for a command that is not in the image. But a missing container, or a missing
            // container whose network it should join, is not the job's fault.
            Err(DockerError::DockerResponseServerError { status_code: 400 | 404, message })
                if !message.contains("No such container") =>
            {
                Err(ExecError::Job(format!("the container cannot start: {}", message.trim())))
            }
            other => Ok(other.context("starting the container")?),
        }
    }

    /// Returns the container's output from byte `skip` on, live until it ends. Stdout and stderr come in the order in
    /// which the engine logged them, which is the same at each reading.
    ///
    /// # Errors
    /// Fails when no connection to the engine was possible yet.
    pub fn logs(
        &self,
        container: &str,
        skip: u64,
    ) -> anyhow::Result<impl Stream<Item = anyhow::Result<Bytes>> + Unpin + use<>> {
        let options = LogsOptionsBuilder::new().follow(true).stdout(true).stderr(true).tail("all").build();
        let mut skip = skip;
        let frames = self.client()?.logs(container, Some(options)).map_err(anyhow::Error::from);
        Ok(Box::pin(frames.try_filter_map(move |frame| {
            let bytes = frame.into_bytes();
            let cut = usize::try_from(skip).unwrap_or(usize::MAX).min(bytes.len());
            skip -= cut as u64;
            let rest = bytes.slice(cut..);
            std::future::ready(Ok((!rest.is_empty()).then_some(rest)))
        })))
    }

    /// Waits until a container has ended.
    ///
    /// # Errors
    /// Fails when the engine goes away meanwhile.
    pub async fn wait(&self, container: &str) -> anyhow::Result<()> {
        match self.client()?.wait_container(container, None::<WaitContainerOptions>).next().await {
            // A status other than 0 is reported as this error.
            None | Some(Ok(_) | Err(DockerError::DockerContainerWaitError { .. })) => Ok(()),
            Some(Err(error)) => Err(error).context("waiting for the container"),
        }
    }

    /// Returns the state of a container.
    pub async fn life(&self, container: &str) -> anyhow::Result<Life> {
        let inspected = self.client()?.inspect_container(container, None).await;
        if is_status(&inspected, 404) {
            return Ok(Life::Gone);
        }
        let state = inspected.context("inspecting the container")?.state.context("a container without a state")?;
        Ok(match state.status {
            Some(ContainerStateStatusEnum::CREATED) => Life::Created,
            Some(
                ContainerStateStatusEnum::EXITED | ContainerStateStatusEnum::DEAD | ContainerStateStatusEnum::REMOVING,
            ) => Life::Exited(Exit {
                status: state.exit_code.unwrap_or(-1),
                out_of_memory: state.oom_killed.unwrap_or(false),
            }),
            _ => {
                let since = state.started_at.unwrap_or_default();
                let since = DateTime::parse_from_rfc3339(&since).context("a start time of an unknown form")?;
                Life::Running(since.to_utc())
            }
        })
    }

    /// Returns the id of the image of a container; for a checkout image, the one that it was made from.
    pub async fn image_of(&self, container: &str) -> anyhow::Result<String> {
        let inspected = self.client()?.inspect_container(container, None).await.context("inspecting the container")?;
        let labels = inspected.config.and_then(|config| config.labels).unwrap_or_default();
        let base = labels.get(labels::CHECKOUT_IMAGE).filter(|id| !id.is_empty()).cloned();
        base.or(inspected.image).context("a container without an image")
    }

    /// Sends a signal to the job's processes. Does nothing when the container has ended already.
    pub async fn signal(&self, container: &str, signal: &str) -> anyhow::Result<()> {
        let options = KillContainerOptionsBuilder::new().signal(signal).build();
        let sent = self.client()?.kill_container(container, Some(options)).await;
        if is_status(&sent, 404) || is_status(&sent, 409) {
            return Ok(());
        }
        sent.with_context(|| format!("sending {signal}"))
    }

    /// Returns the number of bytes that a container has written into its file system; `None` when the container is
    /// gone. The engine counts file by file.
    pub async fn written(&self, container: &str) -> anyhow::Result<Option<u64>> {
        let options = InspectContainerOptionsBuilder::new().size(true).build();
        let inspected = self.client()?.inspect_container(container, Some(options)).await;
        if is_status(&inspected, 404) {
            return Ok(None);
        }
        Ok(inspected.context("measuring the container")?.size_rw.and_then(|size| u64::try_from(size).ok()))
    }

    /// Removes a container with its anonymous volumes and its helpers, even if it runs. Does nothing when they are gone
    /// already.
    pub async fn remove(&self, container: &str) -> anyhow::Result<()> {
        let (gateway, probe) = (gateway_of(container), probe_of(container));
        // All are removed at once, and each even if another fails. A job that still runs has no network for a moment.
        let (own, gateway, probe) =
            tokio::join!(self.remove_one(container), self.remove_one(&gateway), self.remove_one(&probe));
        own.and(gateway).and(probe)
    }

    pub(super) async fn remove_one(&self, container: &str) -> anyhow::Result<()> {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        let removed = self.client()?.remove_container(container, Some(options)).await;
        // Status 409: another request is removing the container.
        if is_status(&removed, 404) || is_status(&removed, 409) {
            return Ok(());
        }
        removed.context("removing the container")
    }
}
