//! The interface between a worker and the engine that runs its jobs: start, follow, stop, copy in, copy out, list,
//! remove.
//!
//! Every engine is a Docker engine today. A second kind becomes a second arm behind these methods, and no code that
//! runs a job has to change: `worker/run`, `attempt` and `cli/run` use [`Engine`], and never Docker directly.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use tokio_util::io::{StreamReader, SyncIoBridge};
use tokio_util::sync::CancellationToken;

use super::docker::container::pool::Pool;
use super::docker::container::staged::StagedContainer;
use super::docker::container::{list, usage};
use super::docker::gpu::is_gpu_check;
use super::docker::{checkout_image, examine, image};
use super::{Docker, Endpoint, ExecError, Found, Image, Life, Spec, Upload};
use crate::domain::{AttemptId, Usage};

/// The content of a container: `prepare` makes it while the engine makes the container, `fill` copies it in.
pub struct Filling<P, F> {
    pub prepare: P,
    pub fill: F,
}

/// An engine that runs the jobs of one runner.
#[derive(Debug, Clone)]
pub struct Engine {
    docker: Docker,
    pool: Arc<Pool>,
}

impl Engine {
    /// An engine that keeps this many containers ready for the next jobs, once [`Engine::keep_ready`] runs.
    pub fn new(docker: Docker, ready: usize) -> Self {
        let pool = Arc::new(Pool::new(docker.clone(), ready));
        Self { docker, pool }
    }

    pub fn endpoint(&self) -> &Endpoint {
        self.docker.endpoint()
    }

    /// Returns true if the engine can mount the folders of this machine.
    pub fn is_local(&self) -> bool {
        matches!(self.endpoint(), Endpoint::Unix(_))
    }

    /// Returns the engine's version. The error names what to do.
    pub async fn version(&self) -> anyhow::Result<String> {
        self.docker.version().await
    }

    /// Returns the folder in which the engine keeps all its data; `None` when the engine is on another machine.
    pub async fn local_root(&self) -> anyhow::Result<Option<PathBuf>> {
        match self.endpoint() {
            Endpoint::Unix(_) => examine::root(&self.docker).await,
            Endpoint::Tls { .. } | Endpoint::Ssh(_) => Ok(None),
        }
    }

    /// Returns the name of an attempt's container, which is known before the container exists.
    pub fn name_of(&self, attempt: AttemptId) -> String {
        self.docker.name_of(attempt)
    }

    /// Finds an image.
    ///
    /// # Errors
    /// Returns [`ExecError::Job`] when the engine does not have the image.
    pub async fn image(&self, name: &str) -> Result<Image, ExecError> {
        image::find(&self.docker, name).await
    }

    /// Lists the names of the engine's images, with their tags.
    pub async fn image_names(&self) -> anyhow::Result<Vec<String>> {
        image::names(&self.docker).await
    }

    /// Starts a container that waits for its release. Jobs of the same `trust_domain` may know of each other, so the
    /// next of them may get a network that another one used.
    ///
    /// # Errors
    /// Returns [`ExecError::Job`] when the image is absent or cannot run the command.
    pub async fn start<T, Filled: Future<Output = Result<(), ExecError>>>(
        &self,
        spec: &Spec,
        name: &str,
        trust_domain: &str,
        filling: Filling<impl Future<Output = Result<T, ExecError>>, impl FnOnce(T) -> Filled>,
    ) -> Result<StagedContainer, ExecError> {
        self.pool.take(spec, trust_domain, name, filling).await
    }

    /// Records that a job has begun: now there is time to make the next job's container.
    pub fn job_began(&self) {
        self.pool.job_began();
    }

    /// Copies files into a container that does not use them yet.
    ///
    /// # Errors
    /// Fails when the files cannot be read or the engine does not accept them.
    pub async fn copy_in(&self, container: &str, upload: Upload) -> Result<(), ExecError> {
        self.docker.put(container, upload).await
    }

    /// Extracts a tar at the root of a container that does not use it yet.
    ///
    /// # Errors
    /// Fails when the tar cannot be read or the engine does not accept it.
    pub async fn copy_tar_in(&self, container: &str, tar: impl Read + Send + 'static) -> anyhow::Result<()> {
        self.docker.put_tar(container, tar).await
    }

    /// Reads a file or folder from a container, which may have ended, for code that blocks. The result is a tar in which
    /// each name begins with the last part of `path`. Returns `None` when the container has no such path. The reading
    /// ends early when `stop` is cancelled, because such code goes on after the task that waits for it was dropped.
    ///
    /// # Errors
    /// Fails when the engine does not answer, or when the container is gone.
    pub async fn copy_out(
        &self,
        container: &str,
        path: &str,
        stop: &CancellationToken,
    ) -> anyhow::Result<Option<impl Read + Send + use<>>> {
        let tar = self.docker.tar_of(container, path).await?;
        let stopped = stop.clone().cancelled_owned();
        Ok(tar.map(|tar| SyncIoBridge::new(StreamReader::new(Box::pin(tar.take_until(stopped))))))
    }

    /// Follows the container's output from byte `from` on, live until the container ends. The bytes are the same at
    /// each reading.
    ///
    /// # Errors
    /// Fails when no connection to the engine was possible yet.
    pub fn follow(
        &self,
        container: &str,
        from: u64,
    ) -> anyhow::Result<impl Stream<Item = anyhow::Result<Bytes>> + Unpin + use<>> {
        self.docker.logs(container, from)
    }

    /// Waits until the container has ended.
    ///
    /// # Errors
    /// Fails when the engine goes away meanwhile.
    pub async fn wait(&self, container: &str) -> anyhow::Result<()> {
        self.docker.wait(container).await
    }

    pub async fn life(&self, container: &str) -> anyhow::Result<Life> {
        self.docker.life(container).await
    }

    /// Returns the id of the image that a job's container runs. It is the job's own image, also if the container was made
    /// from a checkout image.
    ///
    /// # Errors
    /// Fails when the container is gone.
    pub async fn image_of(&self, container: &str) -> anyhow::Result<String> {
        self.docker.image_of(container).await
    }

    /// Sends a signal to the job's processes. Does nothing when the container has ended already.
    pub async fn signal(&self, container: &str, signal: &str) -> anyhow::Result<()> {
        self.docker.signal(container, signal).await
    }

    /// Returns the number of bytes that a container has written into its file system; `None` when the container is
    /// gone.
    pub async fn written(&self, container: &str) -> anyhow::Result<Option<u64>> {
        self.docker.written(container).await
    }

    /// Returns what a container has used so far; `None` when it does not run.
    pub async fn usage(&self, container: &str) -> anyhow::Result<Option<Usage>> {
        usage::sample(&self.docker, container).await
    }

    /// Lists the containers of all attempts of this installation, in any state.
    pub async fn list(&self) -> anyhow::Result<Vec<Found>> {
        list::attempts(&self.docker).await
    }

    /// Lists the containers of this installation that belong to no attempt and that an earlier process may have left.
    pub async fn list_unassigned(&self) -> anyhow::Result<Vec<String>> {
        let mut containers = list::ready(&self.docker).await?;
        // The container that checks GPUs may be in use already, and stays useful.
        containers.retain(|container| !is_gpu_check(&self.docker, container));
        Ok(containers)
    }

    /// Lists the containers of this installation that no part of this process needs.
    pub async fn list_strays(&self) -> anyhow::Result<Vec<String>> {
        let mut containers = self.list_unassigned().await?;
        // The pool is asked after the list was made: a container that a job took meanwhile has another name.
        containers.retain(|container| {
            !image::is_inspection(&self.docker, container)
                && !checkout_image::is_being_made(&self.docker, container)
                && !self.pool.knows(container)
        });
        Ok(containers)
    }

    /// Removes a container with its volumes and helpers, even if it runs. Does nothing when the container is gone
    /// already.
    pub async fn remove(&self, container: &str) -> anyhow::Result<()> {
        self.docker.remove(container).await
    }

    /// Removes the container of a job that has ended. Its network may be kept for a later job.
    pub async fn retire(&self, container: &str) -> anyhow::Result<()> {
        self.pool.clear_away(container).await
    }

    /// Keeps containers ready until `shutdown`.
    pub async fn keep_ready(&self, shutdown: CancellationToken) {
        self.pool.keep(shutdown).await;
    }

    /// Forgets the containers that are ready: the engine was away, and their connections ended with it.
    pub fn forget_ready(&self) {
        self.pool.forget();
    }

    /// Stops keeping containers ready in an image that is about to be removed.
    pub fn forget_image(&self, image: &str) {
        self.pool.forget_image(image);
    }
}
