//! Samples of the resources that a running job uses, for the record that is stored with its verdict.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tracing::debug;

use crate::domain::{GpuUse, Record, Usage};
use crate::worker::run::Run;

/// The age from which a job is sampled. A job that ends sooner has no record.
const FIRST_SAMPLE_AFTER: Duration = Duration::from_millis(500);
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
/// A longer interval, since `nvidia-smi` maps the whole driver for each sample.
const GPU_SAMPLE_INTERVAL: Duration = Duration::from_secs(3);

/// Samples the container's resource usage until the future is dropped; nothing waits for it. The record of an adopted
/// attempt begins with the adoption, but the engine's sums count from the start of the container.
pub(in crate::worker::run) async fn measure(run: &Run, record: &mut Record) {
    let gpus = Mutex::new(None);
    tokio::join!(measure_container(run, record, &gpus), measure_gpus(run, &gpus));
}

async fn measure_container(run: &Run, record: &mut Record, gpus: &Mutex<Option<GpuUse>>) {
    loop {
        let running = {
            let progress = run.progress.lock();
            progress.container.clone().zip(progress.started)
        };
        let next = match running {
            Some((container, started)) if started.elapsed() >= FIRST_SAMPLE_AFTER => {
                match run.handles.engine.usage(&container).await {
                    Ok(Some(usage)) => {
                        let gpus = *gpus.lock().unwrap_or_else(PoisonError::into_inner);
                        record.push(started.elapsed(), Usage { gpus, ..usage });
                    }
                    Ok(None) => {}
                    // The phase that follows the container finds out whether the engine is there.
                    Err(error) => debug!(job = %run.job.id, "cannot sample job {}: {error:#}", run.job.id),
                }
                SAMPLE_INTERVAL
            }
            Some((_, started)) => FIRST_SAMPLE_AFTER.saturating_sub(started.elapsed()),
            None => FIRST_SAMPLE_AFTER,
        };
        tokio::time::sleep(next).await;
    }
}

/// Samples the GPUs in parallel with the container, since `nvidia-smi` takes longer.
async fn measure_gpus(run: &Run, gpus: &Mutex<Option<GpuUse>>) {
    while !run.job.gpus.is_empty() {
        let next = if run.progress.lock().started.is_some() {
            let used = run.handles.gpus.usage(&run.job.gpus).await;
            if let Err(error) = &used {
                debug!(job = %run.job.id, "cannot sample the GPUs of job {}: {error:#}", run.job.id);
            }
            let used = used.ok().flatten();
            run.progress.lock().gpus_seen(used);
            *gpus.lock().unwrap_or_else(PoisonError::into_inner) = used;
            GPU_SAMPLE_INTERVAL
        } else {
            FIRST_SAMPLE_AFTER
        };
        tokio::time::sleep(next).await;
    }
}
