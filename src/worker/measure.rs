//! What a running job uses, for the record that is stored with its verdict.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tracing::debug;

use super::Worker;
use crate::attempt::Shared;
use crate::domain::{GpuUse, Record, Usage};
use crate::store::queue::Claimed;

/// A job that is over sooner is left in peace, and has no record.
const FIRST_SAMPLE_AFTER: Duration = Duration::from_millis(500);
/// How often a job is looked at.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
/// How often its GPUs are: `nvidia-smi` maps the whole driver for each look.
const GPU_SAMPLE_INTERVAL: Duration = Duration::from_secs(3);

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
                Some((container, started)) if started.elapsed() >= FIRST_SAMPLE_AFTER => {
                    match self.docker.usage(&container).await {
                        Ok(Some(usage)) => {
                            let gpus = *gpus.lock().unwrap_or_else(PoisonError::into_inner);
                            record.push(started.elapsed(), Usage { gpus, ..usage });
                        }
                        Ok(None) => {}
                        // Whether the engine is there is found out by the half that follows the container.
                        Err(error) => debug!(job = %job.id, "cannot look at job {}: {error:#}", job.id),
                    }
                    SAMPLE_INTERVAL
                }
                Some((_, started)) => FIRST_SAMPLE_AFTER.saturating_sub(started.elapsed()),
                None => FIRST_SAMPLE_AFTER,
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
                GPU_SAMPLE_INTERVAL
            } else {
                FIRST_SAMPLE_AFTER
            };
            tokio::time::sleep(next).await;
        }
    }
}
