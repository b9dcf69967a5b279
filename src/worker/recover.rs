//! The recovery of containers that an earlier process left: their jobs go on, or they are removed.

use std::time::Duration;

use tracing::{info, warn};

use super::{BEAT_INTERVAL, ENGINE_RETRY_DELAY, LEASE, Worker};
use crate::executor::Found;
use crate::store::queue::{self, Claimed};

impl Worker {
    /// Finds the containers of an earlier process, and returns those whose jobs go on; retries until the engine
    /// answers. Meanwhile it extends their leases: they may be running on an engine that is away.
    pub(super) async fn recover(&self) -> Vec<(Claimed, Found)> {
        tokio::select! {
            adopted = self.find_running() => adopted,
            () = self.hold_leases() => unreachable!("it holds them until it is dropped"),
        }
    }

    async fn hold_leases(&self) {
        loop {
            for attempt in queue::running_of(&self.handles.db, self.name()).await.unwrap_or_default() {
                if let Err(error) = queue::beat(&self.handles.db, attempt, LEASE).await {
                    warn!(job = %attempt.job, "cannot extend the lease of job {}: {error}", attempt.job);
                }
            }
            tokio::time::sleep(BEAT_INTERVAL).await;
        }
    }

    async fn find_running(&self) -> Vec<(Claimed, Found)> {
        loop {
            // The watch over the engine reports an engine that is away.
            self.handles.health.until_reachable().await;
            match self.try_recover().await {
                Ok(adopted) => return adopted,
                Err(error) => warn!(runner = self.name(), "cannot find the running jobs yet: {error:#}"),
            }
            tokio::time::sleep(ENGINE_RETRY_DELAY).await;
        }
    }

    /// Tries [`Worker::recover`] once: adopts containers of running attempts, removes all others, and requeues lost
    /// jobs.
    ///
    /// # Errors
    /// Fails when the engine or Postgres does not answer; then no job is lost.
    pub async fn try_recover(&self) -> anyhow::Result<Vec<(Claimed, Found)>> {
        self.handles.health.find_disk().await?;
        let mut adopted = Vec::new();
        let (own, helpers): (Vec<Found>, _) =
            self.handles.engine.list().await?.into_iter().partition(|found| found.runs_job);
        for found in own {
            // A container that was never started may lack its files. It did nothing yet, so the job can begin again.
            let job = if found.started {
                queue::adopt(&self.handles.db, found.attempt, self.name(), LEASE).await?
            } else {
                None
            };
            match job {
                Some(job) => {
                    info!(runner = self.name(), "continuing job {} at byte {} of its log", job.id, job.log_length);
                    adopted.push((job, found));
                }
                None => self.handles.engine.remove(&found.container).await?,
            }
        }
        for helper in helpers {
            if !adopted.iter().any(|(job, _): &(Claimed, _)| job.attempt_id() == helper.attempt) {
                self.handles.engine.remove(&helper.container).await?;
            }
        }
        for container in self.handles.engine.list_unassigned().await? {
            self.handles.engine.remove(&container).await?;
        }
        for attempt in queue::running_of(&self.handles.db, self.name()).await? {
            if !adopted.iter().any(|(job, _)| job.attempt_id() == attempt) {
                warn!(runner = self.name(), "job {} was claimed but has no container: it begins again", attempt.job);
                queue::requeue(&self.handles.db, attempt, Duration::ZERO, "its container was lost").await?;
            }
        }
        Ok(adopted)
    }

    /// Removes containers that belong neither to a running attempt nor to the pool.
    pub async fn reap(&self) -> anyhow::Result<()> {
        let containers = self.handles.engine.list().await?;
        let running = queue::running_of(&self.handles.db, self.name()).await?;
        for orphan in containers.into_iter().filter(|found| !running.contains(&found.attempt)) {
            info!(
                runner = self.name(),
                "removing the container of job {}, which no worker runs any more", orphan.attempt.job
            );
            self.handles.engine.remove(&orphan.container).await?;
        }
        for stray in self.handles.engine.list_strays().await? {
            self.handles.engine.remove(&stray).await?;
        }
        Ok(())
    }
}
