//! The end of an attempt in Postgres. Until it is recorded, the job counts as running and has its slot.

use std::fmt::Display;

use tracing::{info, warn};

use super::log::Log;
use super::outputs::Finished;
use super::{End, Run};
use crate::attempt::Judgement;
use crate::domain::{JobId, Record};
use crate::store::output::reports::Reports;
use crate::store::queue::{self, Finish, LogEnd};
use crate::worker::{ENGINE_RETRY_DELAY, REQUEUE_DELAY};

/// Records how an attempt ended. Tries until Postgres has stored it.
pub(super) async fn record(run: &Run, end: Result<Finished, End>, log: &Log, usage: &Record) {
    let (job, attempt, db) = (run.job.id, run.attempt, &run.handles.db);
    match end {
        Ok(finished) => finish(run, finished, log, usage).await,
        Err(End::CouldNotBegin(reason)) => {
            finish(run, Finished::without_outputs(Judgement::could_not_begin(reason)), log, usage).await;
        }
        Err(End::Stopped(judgement)) => finish(run, Finished::without_outputs(judgement), log, usage).await,
        Err(End::GivenBack(error)) => {
            warn!(%job, "job {job} is given back: {error:#}");
            let reason = format!("{error:#}");
            let requeue = || queue::requeue(db, attempt, REQUEUE_DELAY, &reason);
            retry_forever(job, "give the job back", requeue).await;
        }
        Err(End::Preempted { reason, closing }) => {
            info!(%job, "job {job} is preempted: {reason}");
            let end = LogEnd { offset: log.stored(), tail: closing.as_bytes() };
            retry_forever(job, "record the preemption", || queue::preempt(db, attempt, end, &reason)).await;
        }
        Err(End::Lost) => warn!(%job, "the lease of job {job} is lost: its container is removed"),
    }
}

async fn finish(run: &Run, finished: Finished, log: &Log, usage: &Record) {
    let job = run.job.id;
    let Finished { judgement: Judgement { verdict, exit_status, reason, closing }, examined, artifacts } = finished;
    // A training that was stopped has no result.
    let is_tracked = run.handles.settings.trackers.mlflow.is_some()
        && examined.is_some()
        && matches!(&run.training, Ok(Some(training)) if training.whole().is_some());
    let (training, loss) = examined.map_or_else(Default::default, |examined| {
        (serde_json::to_value(&examined).unwrap_or_default(), examined.series)
    });
    let end = Finish {
        verdict,
        exit_status,
        reason: reason.as_deref(),
        tail: closing.as_bytes(),
        offset: log.stored(),
        reports: Reports { training, loss, is_tracked, resources: usage.resources(), artifacts },
    };
    let finish = || queue::finish(&run.handles.db, run.attempt, &end);
    if retry_forever(job, "store the verdict of the job", finish).await {
        info!(%job, "job {job} ends: {verdict:?}");
    } else {
        // This also happens when an earlier try was stored but its answer was lost.
        info!(%job, "job {job} was decided already");
    }
}

async fn retry_forever<T, E: Display, Step: Future<Output = Result<T, E>>>(
    job: JobId,
    action: &str,
    step: impl Fn() -> Step,
) -> T {
    loop {
        match step().await {
            Ok(recorded) => return recorded,
            Err(error) => warn!(%job, "cannot {action}, trying again: {error:#}"),
        }
        tokio::time::sleep(ENGINE_RETRY_DELAY).await;
    }
}
