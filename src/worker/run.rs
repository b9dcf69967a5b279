//! One attempt at one job, from the claim to the verdict.

use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::OwnedSemaphorePermit;
use tracing::{info, warn};

use super::artifacts::Origin;
use super::log::{Log, Lost};
use super::secrets::Secrets;
use super::{BEAT_INTERVAL, ENGINE_RETRY_DELAY, LEASE, Worker};
use crate::attempt::{Examined, Judgement, Progress, Shared, SmokeJob, TICK, never_began, watch_disk};
use crate::domain::{AttemptId, JobId, Record, Stop, Verdict};
use crate::executor::{ExecError, Exit, Found, Limits};
use crate::lora::series::LogReader;
use crate::store::builds::BuildFacts;
use crate::store::output::artifacts::NewArtifact;
use crate::store::output::reports::Reports;
use crate::store::queue::{self, Beat, Claimed, Finish};

/// How long a job that was given back for the engine's or git's sake waits in the queue.
const BACK_IN_QUEUE: Duration = Duration::from_secs(5);
/// How much of a stored log an adopted attempt reads again, to find the command that failed.
const REREAD: i64 = 16 * 1024;

/// How an attempt ended, as far as this worker is concerned.
pub(super) enum End {
    /// With a verdict, with what a smoke job's training did, and with the files that are kept.
    Finished(Judgement, Option<Examined>, Vec<NewArtifact>),
    /// Through no fault of the job; it may be tried again.
    GivenBack(anyhow::Error),
    /// It gave way to another job, for this reason, which its log tells in more words.
    Preempted(String, String),
    /// Somebody else decides about the job now.
    Lost,
}

impl From<Lost> for End {
    fn from(_: Lost) -> Self {
        Self::Lost
    }
}

impl Worker {
    /// Sees a claimed or adopted job through. The slot is given back with the verdict; removing the container comes
    /// after, since nobody waits for it.
    pub(super) async fn run(self: Arc<Self>, job: Claimed, found: Option<Found>, slot: Option<OwnedSemaphorePermit>) {
        let attempt = job.attempt_id();
        info!(job = %job.id, attempt = job.attempt, "job {} begins", job.id);
        let container = found.as_ref().map(|found| found.container.clone());
        let stop = job.stop.map(|stop| (stop, job.reason.clone().unwrap_or_default()));
        let shared = Shared::new(Progress::new(container, stop));
        let limit = self.settings.limits.log.as_u64();
        let mut log = Log::new(self.db.clone(), self.bells.clone(), &job, limit);
        let mut record = Record::default();
        let end = match SmokeJob::of(job.kind, &job.config) {
            Ok(smoke) => {
                let limits = self.limits_of(smoke.as_ref());
                tokio::select! {
                    end = self.carry_out(&job, found, (smoke.as_ref(), &limits), &shared, &mut log) => end,
                    () = self.watch(&job, &limits, &shared) => End::Lost,
                    () = watch_disk(&self.docker, &shared) => End::Lost,
                    () = self.measure(&job, &shared, &mut record) => unreachable!("it measures until it is dropped"),
                }
            }
            Err(error) => End::Finished(Judgement::could_not_begin(format!("{error:#}")), None, Vec::new()),
        };
        match end {
            End::Finished(Judgement { verdict, exit_status, reason, closing }, examined, artifacts) => {
                let offset = log.stored();
                let tail = closing.as_bytes();
                let reason = reason.as_deref();
                let (smoke, loss) = examined.map_or_else(Default::default, |examined| {
                    (serde_json::to_value(&examined).unwrap_or_default(), examined.series)
                });
                let reports = Reports { smoke, loss, resources: record.resources(), artifacts };
                self.finish(attempt, &Finish { verdict, exit_status, reason, tail, offset, reports }).await;
            }
            End::GivenBack(error) => {
                warn!(job = %job.id, "job {} is given back: {error:#}", job.id);
                let reason = format!("{error:#}");
                retry_forever(job.id, "give the job back", || {
                    queue::requeue(&self.db, attempt, BACK_IN_QUEUE, &reason)
                })
                .await;
            }
            End::Preempted(reason, closing) => {
                info!(job = %job.id, "job {} gives way: {reason}", job.id);
                let end = (log.stored(), closing.as_bytes());
                retry_forever(job.id, "let the job give way", || queue::preempt(&self.db, attempt, end, &reason)).await;
            }
            End::Lost => warn!(job = %job.id, "the lease of job {} is lost: its container is removed", job.id),
        }
        drop(slot);
        self.bells.ring_log(job.id);
        self.bells.outbox.ring();
        self.bells.worker.ring();
        let container = shared.lock().container.clone();
        if let Some(container) = container
            && let Err(error) = self.pool.clear_away(&container).await
        {
            warn!(job = %job.id, "cannot remove a container now, the janitor will: {error:#}");
        }
        // At once, so that the next job waits for its GPU no longer than it takes to see it empty.
        if !job.gpus.is_empty()
            && let Err(error) = self.check_gpus().await
        {
            warn!(job = %job.id, "cannot look at the GPUs of job {} now, they are looked at later: {error:#}", job.id);
        }
    }

    async fn finish(&self, attempt: AttemptId, end: &Finish<'_>) {
        if retry_forever(attempt.job, "store the verdict of the job", || queue::finish(&self.db, attempt, end)).await {
            info!(job = %attempt.job, "job {} ends: {:?}", attempt.job, end.verdict);
        } else {
            // Also when an earlier try was stored although its answer was lost.
            info!(job = %attempt.job, "job {} was decided already", attempt.job);
        }
    }

    async fn carry_out(
        &self,
        job: &Claimed,
        found: Option<Found>,
        (smoke, limits): (Option<&SmokeJob>, &Limits),
        shared: &Shared,
        log: &mut Log,
    ) -> End {
        let (facts, secrets) = loop {
            match self.prepare_log(job, log).await {
                Ok(known) => break known,
                Err(error) if found.is_none() => return End::GivenBack(error),
                // The container runs, and nothing of its output may be shown without knowing what to hide.
                Err(error) => warn!(job = %job.id, "cannot read the secrets of job {}: {error:#}", job.id),
            }
            tokio::time::sleep(ENGINE_RETRY_DELAY).await;
        };
        let cache = self.cache_of(job, &facts, found.is_none()).await;
        let ended_before = found.as_ref().is_some_and(|found| found.ended);
        let origin = Origin { repo: facts.repo_id, is_fork: !secrets.allowed };
        let container = match found {
            Some(found) => {
                let from = (log.stored() - REREAD).max(0);
                if let Ok(piece) = self.settings.logs.read(job.attempt_id(), from, usize::MAX).await {
                    log.remember(&piece.bytes);
                }
                found.container
            }
            None => {
                let made = |container| shared.lock().container = Some(container);
                match self.start(job, facts, secrets, cache.as_ref(), (smoke, limits), made).await {
                    Ok(container) => container,
                    Err(ExecError::Job(reason)) => {
                        return End::Finished(Judgement::could_not_begin(reason), None, Vec::new());
                    }
                    Err(ExecError::System(error)) => return End::GivenBack(error),
                }
            }
        };
        let now = Instant::now();
        shared.lock().started = now.checked_sub(job.age()).or(Some(now));
        match self.follow(&container, shared, log).await {
            Ok((exit, unseen)) => {
                match self.never_began(&container, &exit).await {
                    Ok(false) => {}
                    Ok(true) => {
                        // Nothing that the job does has happened, whatever was noted in advance.
                        return match queue::run_only_once(&self.db, job.attempt_id(), None).await {
                            Ok(_) => End::GivenBack(anyhow::anyhow!("its container ended before the job began")),
                            Err(error) => End::GivenBack(error.into()),
                        };
                    }
                    Err(error) => return End::GivenBack(error),
                }
                let (mut judgement, preempted) = {
                    let mut progress = shared.lock();
                    progress.log_full = log.is_full();
                    if (unseen || ended_before) && progress.end_is_unknown(&exit, &log.tail()) {
                        let words = "its container ended unseen, with Docker or the machine, and before its last words";
                        return End::GivenBack(anyhow::anyhow!("{words} (exit status {})", exit.status));
                    }
                    let preempted = progress.preempted(&exit).map(str::to_owned);
                    (progress.judge(&exit, limits, &log.tail()), preempted)
                };
                if let Some(reason) = preempted {
                    return End::Preempted(reason, judgement.closing);
                }
                let examined = match smoke {
                    Some(smoke) => match self.examine(job, smoke, &container, exit.status, &mut judgement).await {
                        Ok(examined) => examined,
                        Err(error) => return End::GivenBack(error),
                    },
                    None => None,
                };
                // Before the verdict: the jobs of the next stage may count on it.
                if let Some(cache) = cache.filter(|_| matches!(judgement.verdict, Verdict::Passed | Verdict::Failed)) {
                    judgement.closing.push_str(&self.store_cache(&container, cache).await);
                }
                let artifacts = self.store_artifacts(job, origin, smoke.is_some(), &container, &mut judgement).await;
                End::Finished(judgement, examined, artifacts)
            }
            Err(end) => end,
        }
    }

    /// Whether the container ended before the job was in it.
    async fn never_began(&self, container: &str, exit: &Exit) -> anyhow::Result<bool> {
        let mut tries = 0;
        loop {
            match never_began(&self.docker, container, exit).await {
                Ok(never) => return Ok(never),
                Err(error) => self.try_again(error, &mut tries).await?,
            }
        }
    }

    /// Looks at what a smoke job's training did, and judges it by that; none of one that was stopped.
    async fn examine(
        &self,
        job: &Claimed,
        smoke: &SmokeJob,
        container: &str,
        exit_status: i64,
        judgement: &mut Judgement,
    ) -> anyhow::Result<Option<Examined>> {
        if !matches!(judgement.verdict, Verdict::Passed | Verdict::Failed) {
            return Ok(None);
        }
        let mut log = LogReader::new();
        // All of it again: an adopted attempt has not seen its begin.
        log.feed(&self.settings.logs.read(job.attempt_id(), 0, usize::MAX).await?.bytes);
        let mut tries = 0;
        let examined = loop {
            match smoke.examine(&self.docker, container, exit_status, log.series()).await {
                Ok(examined) => break examined,
                Err(error) => self.try_again(error, &mut tries).await?,
            }
        };
        examined.judge(judgement);
        Ok(Some(examined))
    }

    /// Finds out what the log must not show.
    async fn prepare_log(&self, job: &Claimed, log: &mut Log) -> anyhow::Result<(BuildFacts, Secrets)> {
        let facts = self.facts_of(job).await?;
        let secrets = self.secrets_of(job, &facts).await?;
        log.hide(Self::mask(job, &secrets)?);
        Ok((facts, secrets))
    }

    /// Extends the lease, looks at the limits, and ends the container when one is broken or a cancel is asked for.
    /// Returns only when the lease is lost.
    async fn watch(&self, job: &Claimed, limits: &Limits, shared: &Shared) {
        let stop_request = Mutex::new(None);
        // Side by side: the lease goes on while an engine is away that shall stop the job.
        tokio::select! {
            () = self.beat(job, &stop_request) => {}
            () = self.keep_limits(job, limits, shared, &stop_request) => {}
        }
    }

    /// Extends the lease until it is lost.
    async fn beat(&self, job: &Claimed, stop_request: &Mutex<Option<(Stop, String)>>) {
        loop {
            tokio::time::sleep(BEAT_INTERVAL).await;
            match queue::beat(&self.db, job.attempt_id(), LEASE).await {
                Ok(Beat::Ours) => {}
                Ok(Beat::Stop(stop, reason)) => {
                    *stop_request.lock().unwrap_or_else(PoisonError::into_inner) = Some((stop, reason));
                }
                Ok(Beat::Lost) => return,
                // Nobody can take the job from us while nobody reaches Postgres.
                Err(error) => warn!(job = %job.id, "cannot extend the lease of job {}: {error}", job.id),
            }
        }
    }

    /// Stops the container when a limit is broken or the job is canceled; never returns.
    async fn keep_limits(
        &self,
        job: &Claimed,
        limits: &Limits,
        shared: &Shared,
        stop_request: &Mutex<Option<(Stop, String)>>,
    ) {
        loop {
            tokio::time::sleep(TICK).await;
            let wanted = stop_request.lock().unwrap_or_else(PoisonError::into_inner).take();
            let due = {
                let mut progress = shared.lock();
                progress.set_engine_reachable(self.is_reachable());
                progress.check(limits, Instant::now(), wanted)
            };
            if let Some((stop, reason)) = due.stop {
                info!(job = %job.id, "job {} is being stopped: {reason}", job.id);
                if let Err(error) = queue::record_stop(&self.db, job.attempt_id(), stop, &reason).await {
                    warn!(job = %job.id, "cannot note why job {} is stopped: {error}", job.id);
                }
            }
            if let Some((container, signal)) = due.signal
                && let Err(error) = self.docker.signal(&container, signal).await
            {
                warn!(job = %job.id, "cannot stop job {}: {error:#}", job.id);
            }
        }
    }
}

/// Records what becomes of a job, however long Postgres is away. Until then the job counts as running, and has its slot.
async fn retry_forever<T, E: Display, Step: Future<Output = Result<T, E>>>(
    job: JobId,
    what: &str,
    step: impl Fn() -> Step,
) -> T {
    loop {
        match step().await {
            Ok(recorded) => return recorded,
            Err(error) => warn!(%job, "cannot {what}, trying again: {error:#}"),
        }
        tokio::time::sleep(ENGINE_RETRY_DELAY).await;
    }
}
