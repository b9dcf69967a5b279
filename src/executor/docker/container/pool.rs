//! The pool of containers that are started before there is a job for them, so that a job waits only for its files.
//!
//! A container serves one job, and was made for no other: it has the job's image, limits, mounts and network, and is
//! empty. The latest jobs show which kinds of containers are wanted. While short jobs follow each other closely, no
//! time is spent on the pool: then networks are used again (`network_pool`). A job of another kind than the ready
//! containers gets the network of one of them, which takes longest to make.

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
use crate::executor::docker::create::{are_alike, have_like_networks, rename};
use crate::executor::docker::errors::is_no_image;
use crate::executor::docker::network::network_pool::{NetworkPool, hand_over_gateway};
use crate::executor::{ExecError, Filling, Network, Spec};

/// The longest time that a container waits. Its knowledge of its surroundings, such as the host's addresses, gets old.
const MAX_AGE: Duration = Duration::from_secs(15 * 60);
/// The time for which a kind of container is kept ready that no job asks for.
const MAX_UNUSED: Duration = Duration::from_secs(60 * 60);
/// The interval at which ages are checked, when nothing else happens.
const RETIRE_INTERVAL: Duration = Duration::from_secs(60);
/// The time without a new job after which the next container is made. Earlier, making it would take processor time from
/// the jobs that have just begun, and from those that follow.
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
    /// Makes a pool that keeps `size` containers ready, once jobs have shown which kinds.
    pub fn new(docker: Docker, size: usize) -> Self {
        let networks = NetworkPool::new(docker.clone(), size);
        Self { docker, size, state: Mutex::default(), networks, taken: Notify::new(), made: AtomicU64::new(0) }
    }

    /// Returns a container for this spec with this name, filled as by [`staged::start`]. It is a ready one, or one in a
    /// network of an earlier job of the same `trust_domain`, or else a new one.
    pub async fn take<T, Filled: Future<Output = Result<(), ExecError>>>(
        &self,
        spec: &Spec,
        trust_domain: &str,
        name: &str,
        Filling { prepare, fill }: Filling<impl Future<Output = Result<T, ExecError>>, impl FnOnce(T) -> Filled>,
    ) -> Result<StagedContainer, ExecError> {
        let mut prepare = pin!(maybe_done(prepare));
        // A GPU is bound to its container when the container is made. So is data, which may be removed before the next job.
        let ready = if spec.gpus.is_empty() && spec.inputs.is_empty() { self.pick(spec) } else { None };
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
                    warn!("a container of the pool cannot be used: {error:#}");
                    self.discard(staged).await;
                }
            }
        }
        let prepare = output(prepare);
        if self.networks.take(spec, trust_domain, name).await {
            return staged::start_in_network(&self.docker, spec, name, Filling { prepare, fill }).await;
        }
        if let Some(other) = self.pick_network(spec)
            && let Some(empty) = self.hand_over_network(other, spec, trust_domain, name).await
        {
            let start = staged::start_in_network(&self.docker, spec, name, Filling { prepare, fill });
            return tokio::join!(start, self.discard_one(&empty)).0;
        }
        let since = Instant::now();
        let staged = staged::start(&self.docker, spec, name, Filling { prepare, fill }).await?;
        self.networks.record(name, spec, trust_domain, since);
        Ok(staged)
    }

    /// Gives the network of an unused container to the container of this name, which is not made yet. Returns the name
    /// of the container that is left without a use; `None` when the network is gone.
    async fn hand_over_network(&self, from: Ready, spec: &Spec, trust_domain: &str, name: &str) -> Option<String> {
        // The container ends when its input does.
        let empty = from.staged.container;
        match hand_over_gateway(&self.docker, &empty, name).await {
            Ok(()) => {
                self.networks.record(name, spec, trust_domain, from.since);
                Some(empty)
            }
            Err(error) => {
                warn!("a network of the pool cannot be used: {error:#}");
                // The gateway may have either name.
                self.remove(&empty).await;
                self.remove(name).await;
                None
            }
        }
    }

    /// Removes the container of a job that has ended.
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
                // A job that asks for the same container reports the error to its author or the operator.
                debug!("cannot add a container to the pool: {error}");
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

    /// Removes the containers that are not wanted any more, and makes the missing ones.
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
                    // A container for this spec would not work the next time either.
                    state.wanted.retain(|(wanted, _)| !are_alike(&self.docker, wanted, &spec));
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Stops keeping containers ready in an image that is about to be removed.
    pub fn forget_image(&self, image: &str) {
        self.lock().wanted.retain(|(wanted, _)| wanted.image != image);
        self.taken.notify_one();
    }

    /// Forgets all waiting containers: the engine was away, and their connections ended with it. The janitor removes
    /// them.
    pub fn forget(&self) {
        self.lock().ready.clear();
        self.networks.forget();
    }

    /// Takes a container for this spec from the ready ones, and records that it was asked for.
    fn pick(&self, spec: &Spec) -> Option<Ready> {
        let mut state = self.lock();
        state.wanted.retain(|(wanted, _)| !are_alike(&self.docker, wanted, spec));
        state.wanted.insert(0, (spec.clone(), Instant::now()));
        state.wanted.truncate(self.size);
        state.ready.retain_mut(|ready| !ready.staged.is_over());
        let place = state.ready.iter().position(|ready| are_alike(&self.docker, &ready.spec, spec))?;
        Some(state.ready.remove(place))
    }

    /// Takes a container from the ready ones that has a fitting network, although it is of another kind. Most of the time
    /// for a new container goes into its network. A kind of which there are several gives first, then the one that was
    /// asked for longest ago.
    fn pick_network(&self, spec: &Spec) -> Option<Ready> {
        if spec.limits.network != Network::Egress {
            return None;
        }
        let mut state = self.lock();
        let State { wanted, ready, .. } = &mut *state;
        let are_alike = |one: &Spec, other: &Spec| are_alike(&self.docker, one, other);
        let rank = |candidate: &Ready| {
            let number = ready.iter().filter(|other| are_alike(&other.spec, &candidate.spec)).count();
            let recency = wanted.iter().position(|(spec, _)| are_alike(spec, &candidate.spec));
            (number, recency.unwrap_or(usize::MAX))
        };
        let fitting = ready.iter().enumerate().filter(|(_, ready)| have_like_networks(&ready.spec, spec));
        let place = fitting.max_by_key(|(_, ready)| rank(ready)).map(|(place, _)| place)?;
        Some(ready.remove(place))
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

    /// Removes a container, and keeps its helpers.
    async fn discard_one(&self, container: &str) {
        if let Err(error) = self.docker.remove_one(container).await {
            warn!("cannot remove a container of the pool, the janitor will do it: {error:#}");
        }
    }

    async fn remove(&self, container: &str) {
        if let Err(error) = self.docker.remove(container).await {
            warn!("cannot remove a container of the pool, the janitor will do it: {error:#}");
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
