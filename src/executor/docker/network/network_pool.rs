//! Networks that are left over from jobs and kept for later ones of the same people.
//!
//! What Docker takes longest for is a container's network: more than half of the time of a short job. A job's processes and
//! sockets end with its container; what outlives them is the address, to which somebody outside may still send answers for a
//! while. So a network is used again by jobs that may know of each other anyway: those of one repository, or of one fork of it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::debug;

use crate::executor::docker::Docker;
use crate::executor::docker::create::{have_like_networks, rename_one};
use crate::executor::docker::labels::gateway_of;
use crate::executor::{Life, Network, Spec};

/// How long a network is used in all: what it knows of its surroundings, such as the host's addresses, gets old.
const MAX_AGE: Duration = Duration::from_secs(15 * 60);
/// How long it is kept for a job that may come.
const MAX_UNUSED: Duration = Duration::from_secs(60);

/// Spare networks of one engine.
#[derive(Debug)]
pub(in crate::executor::docker) struct NetworkPool {
    docker: Docker,
    most: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Networks of running jobs, by their containers.
    used: HashMap<String, Made>,
    spare: Vec<Spare>,
    pooled: u64,
    /// True once the pool is cleared for good.
    closed: bool,
}

/// A network, and who uses it.
#[derive(Debug, Clone)]
struct Made {
    spec: Spec,
    trust_domain: String,
    since: Instant,
}

#[derive(Debug)]
struct Spare {
    made: Made,
    /// The base of the gateway's name.
    name: String,
    /// True once the gateway has that name. Until then the reaper must not take it for an orphan.
    is_renamed: bool,
    since: Instant,
}

impl NetworkPool {
    /// A pool for so many networks.
    pub(in crate::executor::docker) fn new(docker: Docker, most: usize) -> Self {
        Self { docker, most, state: Mutex::default() }
    }

    /// Notes that a job's container has a network of its own since then.
    pub(in crate::executor::docker) fn record(&self, container: &str, spec: &Spec, trust_domain: &str, since: Instant) {
        if self.most > 0 && spec.limits.network == Network::Egress {
            let made = Made { spec: spec.clone(), trust_domain: trust_domain.to_owned(), since };
            self.lock().used.insert(container.to_owned(), made);
        }
    }

    /// Makes a spare network that of a container to be made; false when there is none that it may have.
    pub(in crate::executor::docker) async fn take(&self, spec: &Spec, trust_domain: &str, container: &str) -> bool {
        let spare = {
            let mut state = self.lock();
            let fits = |spare: &Spare| {
                spare.is_renamed
                    && spare.made.trust_domain == trust_domain
                    && spare.made.since.elapsed() < MAX_AGE
                    && have_like_networks(&spare.made.spec, spec)
            };
            state.spare.iter().position(fits).map(|place| state.spare.remove(place))
        };
        let Some(spare) = spare else { return false };
        let gateway = gateway_of(container);
        let given = async {
            rename_one(&self.docker, &gateway_of(&spare.name), &gateway).await?;
            // It may have ended with its engine, which does not keep it from being renamed.
            anyhow::ensure!(matches!(self.docker.life(&gateway).await?, Life::Running(_)), "it has ended");
            anyhow::Ok(())
        };
        if let Err(error) = given.await {
            debug!("a spare network is gone: {error:#}");
            // Under whichever name it is.
            for name in [&spare.name, container] {
                let _ = self.docker.remove(name).await;
            }
            return false;
        }
        self.record(container, spec, trust_domain, spare.made.since);
        true
    }

    /// Removes a job's container, and keeps its network if that is of use.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub(in crate::executor::docker) async fn put(&self, container: &str) -> anyhow::Result<()> {
        let kept = {
            let mut state = self.lock();
            let is_full = state.closed || state.spare.len() >= self.most;
            let made = state.used.remove(container).filter(|made| !is_full && made.since.elapsed() < MAX_AGE);
            made.map(|made| {
                state.pooled += 1;
                (format!("{}spare-{}", self.docker.prefix(), state.pooled), made)
            })
        };
        let Some((name, made)) = kept else { return self.docker.remove(container).await };
        self.docker.remove_one(container).await?;
        self.lock().spare.push(Spare { made, name: name.clone(), is_renamed: false, since: Instant::now() });
        let renamed = rename_one(&self.docker, &gateway_of(container), &gateway_of(&name)).await;
        if let Err(error) = renamed {
            self.lock().spare.retain(|spare| spare.name != name);
            debug!("a network is not kept: {error:#}");
            return self.docker.remove(container).await;
        }
        if let Some(spare) = self.lock().spare.iter_mut().find(|spare| spare.name == name) {
            spare.is_renamed = true;
            return Ok(());
        }
        // The pool was cleared meanwhile.
        self.docker.remove(&name).await
    }

    /// Returns the bases of the names of spare networks.
    pub(in crate::executor::docker) fn names(&self) -> Vec<String> {
        self.lock().spare.iter().map(|spare| spare.name.clone()).collect()
    }

    /// Takes those from the pool that are not of use any more.
    pub(in crate::executor::docker) fn retire(&self) -> Vec<String> {
        let is_stale = |spare: &mut Spare| spare.since.elapsed() > MAX_UNUSED || spare.made.since.elapsed() > MAX_AGE;
        self.lock().spare.extract_if(.., is_stale).map(|spare| spare.name).collect()
    }

    /// Forgets what there was on an engine that went away: it may have ended with it. What is still there is nobody's, and
    /// removed as such.
    pub(in crate::executor::docker) fn forget(&self) {
        let mut state = self.lock();
        state.spare.clear();
        state.used.clear();
    }

    /// Takes all from the pool; nothing is put on it any more.
    pub(in crate::executor::docker) fn clear(&self) -> Vec<String> {
        let mut state = self.lock();
        state.closed = true;
        state.spare.drain(..).map(|spare| spare.name).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
