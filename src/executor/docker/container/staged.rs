//! Staged containers: each runs and waits for its job.

use std::fmt;
use std::future::ready;

use anyhow::Context as _;
use bollard::container::AttachContainerResults;
use futures::{FutureExt as _, StreamExt as _};
use tokio::io::AsyncWriteExt as _;

use crate::executor::docker::create::create;
use crate::executor::docker::network::egress_gateway;
use crate::executor::docker::{Docker, PROMPT};
use crate::executor::{ExecError, Filling, Network, Spec};

/// A container whose command waits for the end of its standard input. The input ends when this value is dropped, and
/// when its process dies.
pub struct StagedContainer {
    pub(super) container: String,
    input: AttachContainerResults,
}

impl fmt::Debug for StagedContainer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StagedContainer").field("container", &self.container).finish_non_exhaustive()
    }
}

impl StagedContainer {
    /// Ends the wait: the container's command continues.
    ///
    /// # Errors
    /// Fails when the engine does not answer, or when the connection was lost before.
    pub async fn release(mut self) -> anyhow::Result<()> {
        anyhow::ensure!(!self.is_over(), "the connection to the container was cut before its job began");
        // The end is sent explicitly, since TLS distinguishes an end from a lost connection.
        let ended = tokio::time::timeout(PROMPT, self.input.input.shutdown()).await;
        ended.context("no answer in time")?.context("starting the job")
    }

    /// Returns true when the connection to the container has ended, and the container's wait with it.
    pub(super) fn is_over(&mut self) -> bool {
        self.input.output.next().now_or_never().is_some()
    }
}

/// Starts a container as [`start`] does, with nothing in it.
pub async fn start_empty(docker: &Docker, spec: &Spec, name: &str) -> Result<StagedContainer, ExecError> {
    start(docker, spec, name, Filling { prepare: ready(Ok(())), fill: |()| ready(Ok(())) }).await
}

/// Makes and starts a container with this name, with all that it needs. An older one is removed. While the engine does
/// other work, `prepare` makes the content and `fill` copies it in.
///
/// # Errors
/// Returns [`ExecError::Job`] when the image cannot run the command.
pub async fn start<T, Filled: Future<Output = Result<(), ExecError>>>(
    docker: &Docker,
    spec: &Spec,
    name: &str,
    Filling { prepare, fill }: Filling<impl Future<Output = Result<T, ExecError>>, impl FnOnce(T) -> Filled>,
) -> Result<StagedContainer, ExecError> {
    if spec.limits.network != Network::Egress {
        return start_in_network(docker, spec, name, Filling { prepare, fill }).await;
    }
    egress_gateway::create(docker, spec, name).await?;
    // The gateway takes longest, and the container cannot start before it is open.
    let open = async { egress_gateway::open(docker, name).await.map_err(ExecError::System) };
    let filled = async {
        let ((), content) = tokio::try_join!(create(docker, spec, name), prepare)?;
        fill(content).await?;
        Ok(docker.attach(name).await?)
    };
    let ((), input) = tokio::try_join!(open, filled)?;
    docker.start(name).await?;
    Ok(StagedContainer { container: name.to_owned(), input })
}

/// Starts a container as [`start`] does, in an existing network or without one.
pub(super) async fn start_in_network<T, Filled: Future<Output = Result<(), ExecError>>>(
    docker: &Docker,
    spec: &Spec,
    name: &str,
    Filling { prepare, fill }: Filling<impl Future<Output = Result<T, ExecError>>, impl FnOnce(T) -> Filled>,
) -> Result<StagedContainer, ExecError> {
    let started = async {
        create(docker, spec, name).await?;
        let input = docker.attach(name).await?;
        docker.start(name).await?;
        Ok(input)
    };
    let (input, content) = tokio::try_join!(started, prepare)?;
    fill(content).await?;
    Ok(StagedContainer { container: name.to_owned(), input })
}
