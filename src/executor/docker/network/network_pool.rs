//! The network pool: networks that remain from jobs, and are kept for later jobs of the same people.
//!
//! Making a container's network takes Docker longest: more than half of the time of a short job. A job's processes and
//! sockets end with its container. Only the address outlives them, and machines outside may still send answers to it
//! for a while. So a network is used again only by jobs that may know of each other anyway: those of one repository, or
//! of one fork of it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::debug;

use crate::executor::docker::Docker;
use crate::executor::docker::create::{have_like_networks, rename_one};
use crate::executor::docker::labels::gateway_of;
use crate::executor::{Life, Network, Spec};

/// The longest time for which a network is used. Its knowledge of its surroundings, such as the host's addresses, gets
/// old.
const MAX_AGE: Duration = Duration::from_secs(15 * 60);
/// The time for which a network is kept for a possible job.
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

/// A network with the trust domain of its jobs.
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

/// Gives the gateway of one container to another container, which is not made yet.
///
/// # Errors
/// Fails when the gateway is gone or has ended. It may have either name then.
pub(in crate::executor::docker) async fn hand_over_gateway(
    docker: &Docker,
    from: &str,
    to: &str,
) -> anyhow::Result<()> {
    let gateway = gateway_of(to);
    rename_one(docker, &gateway_of(from), &gateway).await?;
    // The gateway may have ended with its engine, and an ended container can still be renamed.
    anyhow::ensure!(matches!(docker.life(&gateway).await?, Life::Running(_)), "it has ended");
    Ok(())
}

impl NetworkPool {
    /// Makes a pool of at most `most` networks.
    pub(in crate::executor::docker) fn new(docker: Docker, most: usize) -> Self {
        Self { docker, most, state: Mutex::default() }
    }

    /// Records that a job's container has its own network, made at `since`.
    pub(in crate::executor::docker) fn record(&self, container: &str, spec: &Spec, trust_domain: &str, since: Instant) {
        if self.most > 0 && spec.limits.network == Network::Egress {
            let made = Made { spec: spec.clone(), trust_domain: trust_domain.to_owned(), since };
            self.lock().used.insert(container.to_owned(), made);
        }
    }

    /// Gives a spare network to a container that is about to be made. Returns false when there is none that it may
    /// have.
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
        if let Err(error) = hand_over_gateway(&self.docker, &spare.name, container).await {
            debug!("a spare network is gone: {error:#}");
            // The gateway may have either name.
            for name in [&spare.name, container] {
                let _ = self.docker.remove(name).await;
            }
            return false;
        }
        self.record(container, spec, trust_domain, spare.made.since);
        true
    }

    /// Removes a job's container, and keeps its network if a later job may use it.
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

    /// Takes out the networks that are too old, or unused for too long.
    pub(in crate::executor::docker) fn retire(&self) -> Vec<String> {
        let is_stale = |spare: &mut Spare| spare.since.elapsed() > MAX_UNUSED || spare.made.since.elapsed() > MAX_AGE;
        self.lock().spare.extract_if(.., is_stale).map(|spare| spare.name).collect()
    }

    /// Forgets the networks of an engine that went away: they may have ended with it. Those that still exist are
    /// removed as orphans.
    pub(in crate::executor::docker) fn forget(&self) {
        let mut state = self.lock();
        state.spare.clear();
        state.used.clear();
    }

    /// Takes all networks out, and accepts no more.
    pub(in crate::executor::docker) fn clear(&self) -> Vec<String> {
        let mut state = self.lock();
        state.closed = true;
        state.spare.drain(..).map(|spare| spare.name).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
