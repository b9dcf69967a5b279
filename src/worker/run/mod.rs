//! The run of one attempt at a job, from the claim to its recorded end.
//!
//! The phases in order, each with the type that it returns:
//!
//! ```text
//! prepare → Prepared   facts, secrets and cache of the job
//! start   → Started    its container runs                            (an adopted attempt begins here)
//! follow  → Ended      its output is stored, its exit status known
//! judge   → Judged     its verdict is known
//! outputs → Finished   its cache and artifacts are stored
//! record               its verdict is in Postgres
//! ```
//!
//! Any phase may return an [`End`] instead: the attempt then ends without a verdict of its script. `attempt` has the
//! types and the code of the phases that need no database, which `trainyard run` shares. Meanwhile `watch` extends the
//! lease, keeps the limits, samples what the container uses, and records how far a training is.

mod cache;
mod checkout;
mod checkpoints;
mod judge;
mod log;
mod mask;
mod outputs;
mod prepare;
mod record;
mod script_facts;
mod secrets;
mod start;
mod trace;
mod watch;

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::OwnedSemaphorePermit;
use tracing::{info, warn};

use self::log::{Log, Lost};
use self::outputs::Finished;
use self::watch::{measure, progress};
use super::Handles;
use crate::attempt::{FollowError, Judgement, Progress, Shared, Training, Unjudged, watch_disk};
use crate::domain::{AttemptId, Record};
use crate::executor::{ExecError, Found, Limits};
use crate::store::queue::Claimed;
use crate::telemetry::traces;

/// An attempt at a claimed or adopted job.
struct Run {
    attempt: AttemptId,
    job: Claimed,
    /// The order for the training, if the job has one; an error when the plan wrote something else.
    training: anyhow::Result<Option<Training>>,
    limits: Limits,
    progress: Shared,
    /// Span of the attempt.
    span: traces::Parent,
    handles: Arc<Handles>,
}

/// The end of an attempt whose script came to no verdict.
enum End {
    /// The job's author asked for something that is not possible, for this reason.
    CouldNotBegin(String),
    /// A stop was requested before the container was made.
    Stopped(Judgement),
    /// The job is not to blame: it goes back to the queue.
    GivenBack(anyhow::Error),
    /// Another job needs the GPUs.
    Preempted {
        reason: String,
        /// The last lines of the log.
        closing: String,
    },
    /// The lease is lost: another worker decides about the job now.
    Lost,
}

impl From<Lost> for End {
    fn from(_: Lost) -> Self {
        Self::Lost
    }
}

impl From<anyhow::Error> for End {
    fn from(error: anyhow::Error) -> Self {
        Self::GivenBack(error)
    }
}

impl From<ExecError> for End {
    fn from(error: ExecError) -> Self {
        match error {
            ExecError::Job(reason) => Self::CouldNotBegin(reason),
            ExecError::System(error) => Self::GivenBack(error),
        }
    }
}

impl From<FollowError<Lost>> for End {
    fn from(error: FollowError<Lost>) -> Self {
        match error {
            FollowError::Output(Lost) => Self::Lost,
            FollowError::Engine(error) => Self::GivenBack(error),
        }
    }
}

impl From<Unjudged> for End {
    fn from(unjudged: Unjudged) -> Self {
        match unjudged {
            Unjudged::Unseen(error) => Self::GivenBack(error),
            Unjudged::Preempted { reason, closing } => Self::Preempted { reason, closing },
        }
    }
}

/// Runs a claimed job, or an adopted one whose container was `found`, to its end. The slot is given back once the end
/// is recorded. The container is removed after that, since nothing waits for it.
pub(super) async fn run(handles: Arc<Handles>, job: Claimed, found: Option<Found>, slot: Option<OwnedSemaphorePermit>) {
    let span = trace::begin(&handles, &job, found.is_some()).await;
    let run = Run::new(handles, job, found.as_ref(), span.as_parent());
    info!(job = %run.job.id, attempt = run.attempt.number, "job {} begins", run.job.id);
    let mut log = run.log();
    let mut usage = Record::default();
    let end = tokio::select! {
        end = run.carry_out(found, &mut log) => end,
        () = watch::watch(&run) => Err(End::Lost),
        () = watch_disk(&run.handles.engine, &run.progress) => unreachable!("it watches until it is dropped"),
        () = measure::measure(&run, &mut usage) => unreachable!("it measures until it is dropped"),
        () = progress::follow(&run) => unreachable!("it follows the log until it is dropped"),
    };
    let recording = run.span.begin("record");
    record::record(&run, end, &log, &usage).await;
    drop(recording);
    drop(span);
    drop(slot);
    run.clean_up().await;
}

impl Run {
    fn new(handles: Arc<Handles>, job: Claimed, found: Option<&Found>, span: traces::Parent) -> Self {
        let stop = job.stop.map(|stop| (stop, job.reason.clone().unwrap_or_default()));
        let progress = Shared::new(Progress::new(found.map(|found| found.container.clone()), stop));
        let training = Training::of(job.kind, &job.config);
        let usual = &handles.settings.limits;
        let limits = match &training {
            Ok(Some(training)) => training.limits(usual),
            Ok(None) | Err(_) => usual.clone(),
        };
        Self { attempt: job.attempt_id(), job, training, limits, progress, span, handles }
    }

    fn log(&self) -> Log {
        let Handles { db, bells, .. } = &*self.handles;
        Log::new(db.clone(), bells.clone(), &self.job, self.limits.log.as_u64())
    }

    fn training(&self) -> Result<Option<&Training>, End> {
        self.training.as_ref().map(Option::as_ref).map_err(|error| End::CouldNotBegin(format!("{error:#}")))
    }

    async fn carry_out(&self, found: Option<Found>, log: &mut Log) -> Result<Finished, End> {
        self.training()?;
        let starting = self.span.begin("container start");
        let prepared = prepare::prepare(self, found.is_some(), log).await?;
        let started = match found {
            Some(found) => start::adopt(self, found, log).await,
            None => start::start(self, &prepared, log).await?,
        };
        drop(starting);
        let now = Instant::now();
        self.progress.lock().started = now.checked_sub(self.job.age()).or(Some(now));
        let running = self.span.begin("run");
        let ended = tokio::select! {
            ended = started.follow(&self.handles.engine, &self.progress, log) => ended?,
            () = checkpoints::keep(self, &prepared.facts) => unreachable!("it stores checkpoints until it is dropped"),
        };
        drop(running);
        let _outputs = self.span.begin("outputs");
        let judged = judge::judge(self, &prepared.facts, &ended, log).await?;
        outputs::keep(self, prepared, &ended, judged).await
    }

    /// Wakes all that wait for the end of the job, and removes its container.
    async fn clean_up(&self) {
        let Handles { bells, engine, gpus, .. } = &*self.handles;
        let job = self.job.id;
        bells.ring_log(job);
        bells.outbox.ring();
        bells.worker.ring();
        let container = self.progress.lock().container.clone();
        if let Some(container) = container
            && let Err(error) = engine.retire(&container).await
        {
            warn!(%job, "cannot remove the container of job {job} now, the janitor will do it: {error:#}");
        }
        // The check is made at once, so that the next job waits no longer for the GPU than the check takes.
        if !self.job.gpus.is_empty()
            && let Err(error) = gpus.check().await
        {
            warn!(%job, "cannot check the GPUs of job {job} now, they are checked later: {error:#}");
        }
    }
}
