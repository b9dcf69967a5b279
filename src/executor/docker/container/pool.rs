//! Containers that are started before there is a job for them, so that a job waits for nothing but its files.
//!
//! A container serves one job, and was made for no other: with the job's image, limits, mounts and network, empty. Which
//! kinds are wanted shows in the jobs that came lately. While one short job follows the other, no time is spent on them: then
//! networks are used again (`network_pool`).

use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::future::{MaybeDone, maybe_done};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::staged::{self, StagedContainer};
use crate::executor::docker::Docker;
use crate::executor::docker::create::{are_alike, rename};
use crate::executor::docker::errors::is_no_image;
use crate::executor::docker::network::network_pool::NetworkPool;
use crate::executor::{ExecError, Filling, Spec};

/// How long a container waits at most. What it knows of its surroundings, such as the host's addresses, gets old.
const MAX_AGE: Duration = Duration::from_secs(15 * 60);
/// How long a kind of container is kept ready that no job asks for.
const MAX_UNUSED: Duration = Duration::from_secs(60 * 60);
/// How often ages are looked at, when nothing else happens.
const RETIRE_INTERVAL: Duration = Duration::from_secs(60);
/// How long no job must have begun, before there is time for the container of the next one: it would take the processors
/// from those that have just begun, and from those that follow them.
const QUIET: Duration = Duration::from_millis(700);

/// The containers that one engine keeps ready.
#[derive(Debug)]
pub struct Pool {
    docker: Docker,
    size: usize,
    state: Mutex<State>,
    networks: NetworkPool,
    taken: Notify,
    made: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// The specs that jobs asked for, the latest first; no two are alike.
    wanted: Vec<(Spec, Instant)>,
    ready: Vec<Ready>,
    /// The name of the container that is being made.
    being_made: Option<String>,
}

#[derive(Debug)]
struct Ready {
    spec: Spec,
    staged: StagedContainer,
    since: Instant,
}

impl Pool {
    /// A pool that keeps so many containers ready, once jobs have shown which.
    pub fn new(docker: Docker, size: usize) -> Self {
        let networks = NetworkPool::new(docker.clone(), size);
        Self { docker, size, state: Mutex::default(), networks, taken: Notify::new(), made: AtomicU64::new(0) }
    }

    /// A container like this, of this name, filled as by [`Docker::start_staged`]: one that is ready, or one in a network of
    /// an earlier job of the same people (`trust_domain`), or else a new one.
    ///
    /// # Errors
    /// As of that.
    pub async fn take<T, Filled: Future<Output = Result<(), ExecError>>>(
        &self,
        spec: &Spec,
        trust_domain: &str,
        name: &str,
        Filling { prepare, fill }: Filling<impl Future<Output = Result<T, ExecError>>, impl FnOnce(T) -> Filled>,
    ) -> Result<StagedContainer, ExecError> {
        let mut prepare = pin!(maybe_done(prepare));
        // A GPU is bound to its container when that is made.
        let ready = if spec.gpus.is_empty() { self.pick(spec) } else { None };
        if let Some(Ready { mut staged, since, .. }) = ready {
            let rename = rename(&self.docker, &staged.container, name, spec.limits.network);
            match tokio::join!(rename, prepare.as_mut()).0 {
                Ok(()) => {
                    name.clone_into(&mut staged.container);
                    self.networks.record(name, spec, trust_domain, since);
                    fill(output(prepare).await?).await?;
                    return Ok(staged);
                }
                Err(error) => {
                    warn!("a container that was ready is not any more: {error:#}");
                    self.discard(staged).await;
                }
            }
        }
        let prepare = output(prepare);
        if self.networks.take(spec, trust_domain, name).await {
            return staged::start_in_network(&self.docker, spec, name, Filling { prepare, fill }).await;
        }
        let since = Instant::now();
        let staged = staged::start(&self.docker, spec, name, Filling { prepare, fill }).await?;
        self.networks.record(name, spec, trust_domain, since);
        Ok(staged)
    }

    /// Removes the container of a job that has ended.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn clear_away(&self, container: &str) -> anyhow::Result<()> {
        self.networks.put(container).await
    }

    /// Notes that a job has begun: there is time to make the next job's container.
    pub fn job_began(&self) {
        self.taken.notify_one();
    }

    /// Returns true when this container, or the container that it helps, belongs to the pool.
    pub fn knows(&self, container: &str) -> bool {
        let state = self.lock();
        let ready = state.ready.iter().map(|ready| &ready.staged.container);
        let is_of = |own: &String| {
            container.strip_prefix(own.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        ready.chain(&state.being_made).any(is_of) || self.networks.names().iter().any(is_of)
    }

    /// Makes and replaces containers until `shutdown`, then removes them.
    pub async fn keep(&self, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            let made = tokio::select! {
                made = self.fill() => made,
                () = shutdown.cancelled() => break,
            };
            if let Err(error) = made {
                // A job that asks for the same tells its author or the operator.
                debug!("no container can be made ready: {error}");
            }
            tokio::select! {
                () = self.taken.notified() => self.until_quiet().await,
                () = tokio::time::sleep(RETIRE_INTERVAL) => {}
                () = shutdown.cancelled() => {}
            }
        }
        let (ready, half_made) = {
            let mut state = self.lock();
            (std::mem::take(&mut state.ready), state.being_made.take())
        };
        for ready in ready {
            self.discard(ready.staged).await;
        }
        for spare in self.networks.clear() {
            self.remove(&spare).await;
        }
        if let Some(name) = half_made {
            self.remove(&name).await;
        }
    }

    /// Removes what is not wanted any more, and makes what is missing.
    async fn fill(&self) -> Result<(), ExecError> {
        for staged in self.retire() {
            self.discard(staged).await;
        }
        for spare in self.networks.retire() {
            self.remove(&spare).await;
        }
        while let Some(spec) = self.missing() {
            let name = format!("{}ready-{}", self.docker.prefix(), self.made.fetch_add(1, Ordering::Relaxed));
            self.lock().being_made = Some(name.clone());
            let made = staged::start_empty(&self.docker, &spec, &name).await;
            if let Err(error) = self.record_made(spec, made) {
                self.remove(&name).await;
                return Err(error);
            }
        }
        Ok(())
    }

    async fn until_quiet(&self) {
        while tokio::time::timeout(QUIET, self.taken.notified()).await.is_ok() {}
    }

    fn record_made(&self, spec: Spec, made: Result<StagedContainer, ExecError>) -> Result<(), ExecError> {
        let mut state = self.lock();
        state.being_made = None;
        match made {
            Ok(staged) => state.ready.push(Ready { spec, staged, since: Instant::now() }),
            Err(error) => {
                let has_no_image = |error: &ExecError| matches!(error, ExecError::System(error) if is_no_image(error));
                if matches!(error, ExecError::Job(_)) || has_no_image(&error) {
                    // It would not work the next time either.
                    state.wanted.retain(|(wanted, _)| !are_alike(&self.docker, wanted, &spec));
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Keeps nothing ready any more in an image that is to be removed.
    pub fn forget_image(&self, image: &str) {
        self.lock().wanted.retain(|(wanted, _)| wanted.image != image);
        self.taken.notify_one();
    }

    /// Forgets all that wait: the engine was away, and their connections with it. Whoever tidies up removes them.
    pub fn forget(&self) {
        self.lock().ready.clear();
        self.networks.forget();
    }

    /// Takes one that is like this out of those that are ready, and notes that it was asked for.
    fn pick(&self, spec: &Spec) -> Option<Ready> {
        let mut state = self.lock();
        state.wanted.retain(|(wanted, _)| !are_alike(&self.docker, wanted, spec));
        state.wanted.insert(0, (spec.clone(), Instant::now()));
        state.wanted.truncate(self.size);
        state.ready.retain_mut(|ready| !ready.staged.is_over());
        let place = state.ready.iter().position(|ready| are_alike(&self.docker, &ready.spec, spec))?;
        Some(state.ready.remove(place))
    }

    /// Takes out the containers that are too old, or that no job has asked for lately.
    fn retire(&self) -> Vec<StagedContainer> {
        let mut state = self.lock();
        state.wanted.retain(|(_, asked)| asked.elapsed() < MAX_UNUSED);
        let State { wanted, ready, .. } = &mut *state;
        let is_stale = |ready: &mut Ready| {
            ready.since.elapsed() > MAX_AGE
                || !wanted.iter().any(|(spec, _)| are_alike(&self.docker, spec, &ready.spec))
        };
        ready.extract_if(.., is_stale).map(|ready| ready.staged).collect()
    }

    /// Returns the spec to make next: one container of each kind first, then more of the latest.
    fn missing(&self) -> Option<Spec> {
        let state = self.lock();
        if state.ready.len() >= self.size {
            return None;
        }
        let is_there = |spec: &Spec| state.ready.iter().any(|ready| are_alike(&self.docker, &ready.spec, spec));
        let kinds = || state.wanted.iter().map(|(spec, _)| spec);
        kinds().find(|spec| !is_there(spec)).or_else(|| kinds().next()).cloned()
    }

    async fn discard(&self, staged: StagedContainer) {
        self.remove(&staged.container).await;
    }

    async fn remove(&self, container: &str) {
        if let Err(error) = self.docker.remove(container).await {
            warn!("cannot remove a container that was ready, the janitor will: {error:#}");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the output of a future that may have been awaited before.
async fn output<F: Future>(mut future: Pin<&mut MaybeDone<F>>) -> F::Output {
    future.as_mut().await;
    future.take_output().unwrap_or_else(|| unreachable!("it is taken once"))
}
