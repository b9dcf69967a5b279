//! The watch over a running attempt: its lease, its limits, and requests to stop it. Beside it are the samples of what
//! the attempt uses, and the progress of its training.

pub(super) mod measure;
pub(super) mod progress;

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use tracing::{info, warn};

use super::Run;
use crate::attempt::TICK;
use crate::domain::Stop;
use crate::store::queue::{self, Beat};
use crate::worker::{BEAT_INTERVAL, LEASE};

/// A stop that was requested, with the reason.
type StopRequest = Mutex<Option<(Stop, String)>>;

/// Extends the lease, and ends the container when a limit is broken or a stop is requested. Returns only when the lease
/// is lost.
pub(super) async fn watch(run: &Run) {
    let stop_request = Mutex::new(None);
    // Both run in parallel: the lease is also extended while the engine that has to stop the job is away.
    tokio::select! {
        () = extend_lease(run, &stop_request) => {}
        () = keep_limits(run, &stop_request) => {}
    }
}

/// Extends the lease until it is lost.
async fn extend_lease(run: &Run, stop_request: &StopRequest) {
    let job = run.job.id;
    loop {
        tokio::time::sleep(BEAT_INTERVAL).await;
        match queue::beat(&run.handles.db, run.attempt, LEASE).await {
            Ok(Beat::Ours) => {}
            Ok(Beat::Stop(stop, reason)) => {
                *stop_request.lock().unwrap_or_else(PoisonError::into_inner) = Some((stop, reason));
            }
            Ok(Beat::Lost) => return,
            // No other worker can take the job while none reaches Postgres.
            Err(error) => warn!(%job, "cannot extend the lease of job {job}: {error}"),
        }
    }
}

/// Stops the container when a limit is broken or a stop is requested; never returns.
async fn keep_limits(run: &Run, stop_request: &StopRequest) {
    let job = run.job.id;
    loop {
        tokio::time::sleep(TICK).await;
        let requested = stop_request.lock().unwrap_or_else(PoisonError::into_inner).take();
        let due = {
            let mut progress = run.progress.lock();
            progress.set_engine_reachable(run.handles.health.is_reachable());
            progress.check(&run.limits, Instant::now(), requested)
        };
        if let Some((stop, reason)) = due.stop {
            info!(%job, "job {job} is being stopped: {reason}");
            if let Err(error) = queue::record_stop(&run.handles.db, run.attempt, stop, &reason).await {
                warn!(%job, "cannot record why job {job} is stopped: {error}");
            }
        }
        if let Some((container, signal)) = due.signal
            && let Err(error) = run.handles.engine.signal(&container, signal).await
        {
            warn!(%job, "cannot stop job {job}: {error:#}");
        }
    }
}
