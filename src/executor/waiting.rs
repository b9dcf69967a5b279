//! A container that runs and waits for its job.

use std::fmt;

use anyhow::Context as _;
use bollard::container::AttachContainerResults;
use futures::{FutureExt as _, StreamExt as _};
use tokio::io::AsyncWriteExt as _;

use super::docker::PROMPT;
use super::{Docker, ExecError, Network, Spec};

/// A container whose command waits for the end of its standard input. When this is dropped, or its process dies, that
/// end comes.
pub struct Waiting {
    pub(super) container: String,
    input: AttachContainerResults,
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting").field("container", &self.container).finish_non_exhaustive()
    }
}

impl Waiting {
    /// Ends the wait: the container's command goes on.
    ///
    /// # Errors
    /// When the engine is not there any more.
    pub async fn go(mut self) -> anyhow::Result<()> {
        anyhow::ensure!(!self.is_over(), "the connection to the container was cut before its job began");
        // Said, and not left to the drop: TLS tells an end from a connection that was cut.
        let ended = tokio::time::timeout(PROMPT, self.input.input.shutdown()).await;
        ended.context("no answer in time")?.context("starting the job")
    }

    /// Whether the connection to the container has ended, and with it the container's wait.
    pub(super) fn is_over(&mut self) -> bool {
        self.input.output.next().now_or_never().is_some()
    }
}

impl Docker {
    /// Makes and starts a container of this name, with all that it needs; an older one gives way.
    ///
    /// # Errors
    /// [`ExecError::Job`] when the image lacks what the command needs.
    pub async fn start_waiting(&self, spec: &Spec, name: &str) -> Result<Waiting, ExecError> {
        if spec.limits.network == Network::Egress {
            self.create_outlet(spec, name).await?;
            let open = async { self.open_outlet(name).await.map_err(ExecError::System) };
            tokio::try_join!(open, self.create(spec, name))?;
        } else {
            self.create(spec, name).await?;
        }
        self.start_created(name).await
    }

    /// As [`Docker::start_waiting`], in a network that there is already.
    ///
    /// # Errors
    /// As of that.
    pub(super) async fn start_in_network(&self, spec: &Spec, name: &str) -> Result<Waiting, ExecError> {
        self.create(spec, name).await?;
        self.start_created(name).await
    }

    async fn start_created(&self, name: &str) -> Result<Waiting, ExecError> {
        let input = self.attach(name).await?;
        self.start(name).await?;
        Ok(Waiting { container: name.to_owned(), input })
    }
}
