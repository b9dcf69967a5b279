//! What a running job uses, for the record that is stored with its verdict.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tracing::debug;

use super::Worker;
use crate::attempt::Shared;
use crate::domain::{GpuUse, Record, Usage};
use crate::store::jobs::Claimed;

/// A job that is over sooner is left in peace, and has no record.
const FIRST: Duration = Duration::from_millis(500);
/// How often a job is looked at.
const EVERY: Duration = Duration::from_secs(1);
/// How often its GPUs are: `nvidia-smi` maps the whole driver for each look.
const GPUS_EVERY: Duration = Duration::from_secs(3);

impl Worker {
    /// Looks at a job's container again and again, beside the halves that do the work: nothing waits for a look. An
    /// attempt that was adopted has a record from then on; what the engine sums up counts since the start even so.
    pub(super) async fn measure(&self, job: &Claimed, shared: &Shared, record: &mut Record) {
        let gpus = Mutex::new(None);
        tokio::join!(self.measure_container(job, shared, record, &gpus), self.measure_gpus(job, shared, &gpus));
    }

    async fn measure_container(
        &self,
        job: &Claimed,
        shared: &Shared,
        record: &mut Record,
        gpus: &Mutex<Option<GpuUse>>,
    ) {
        loop {
            let running = {
                let progress = shared.lock();
                progress.container.clone().zip(progress.started)
            };
            let next = match running {
                Some((container, started)) if started.elapsed() >= FIRST => {
                    match self.docker.usage(&container).await {
                        Ok(Some(usage)) => {
                            let gpus = *gpus.lock().unwrap_or_else(PoisonError::into_inner);
                            record.push(started.elapsed(), Usage { gpus, ..usage });
                        }
                        Ok(None) => {}
                        // Whether the engine is there is found out by the half that follows the container.
                        Err(error) => debug!(job = %job.id, "cannot look at job {}: {error:#}", job.id),
                    }
                    EVERY
                }
                Some((_, started)) => FIRST.saturating_sub(started.elapsed()),
                None => FIRST,
            };
            tokio::time::sleep(next).await;
        }
    }

    /// Beside it, since a look at GPUs takes longer.
    async fn measure_gpus(&self, job: &Claimed, shared: &Shared, gpus: &Mutex<Option<GpuUse>>) {
        while !job.gpus.is_empty() {
            let next = if shared.lock().started.is_some() {
                let told = self.smi.in_use(&job.gpus).await;
                if let Err(error) = &told {
                    debug!(job = %job.id, "cannot look at the GPUs of job {}: {error:#}", job.id);
                }
                *gpus.lock().unwrap_or_else(PoisonError::into_inner) = told.ok().flatten();
                GPUS_EVERY
            } else {
                FIRST
            };
            tokio::time::sleep(next).await;
        }
    }
}
