//! The judgement of an ended container: the verdict of the script, and of a smoke job's training.

use anyhow::anyhow;

use super::follow::Ended;
use super::log::Log;
use super::{End, Run};
use crate::attempt::{Examined, Judgement, SmokeJob, never_began};
use crate::domain::Verdict;
use crate::lora::series::LogReader;
use crate::store::queue;

/// The verdict on an attempt, before its outputs are stored.
pub(super) struct Judged {
    pub(super) judgement: Judgement,
    /// The facts of a smoke job's training; `None` for other jobs and for a job that was stopped.
    pub(super) examined: Option<Examined>,
}

/// Judges an attempt whose container has ended.
pub(super) async fn judge(run: &Run, ended: &Ended, log: &Log) -> Result<Judged, End> {
    if has_never_begun(run, ended).await? {
        // Nothing of the job has run, even if a row already says that it must run only once.
        queue::run_only_once(&run.handles.db, run.attempt, None).await.map_err(anyhow::Error::from)?;
        return Err(End::GivenBack(anyhow!("its container ended before the job began")));
    }
    let mut judgement = judge_script(run, ended, log)?;
    let examined = match run.smoke()? {
        Some(smoke) if matches!(judgement.verdict, Verdict::Passed | Verdict::Failed) => {
            let examined = examine(run, smoke, ended).await?;
            examined.judge(&mut judgement);
            Some(examined)
        }
        _ => None,
    };
    Ok(Judged { judgement, examined })
}

async fn has_never_begun(run: &Run, ended: &Ended) -> anyhow::Result<bool> {
    let mut tries = 0;
    loop {
        match never_began(&run.handles.engine, &ended.container, &ended.exit).await {
            Ok(never) => return Ok(never),
            Err(error) => run.handles.health.wait_to_retry(error, &mut tries).await?,
        }
    }
}

/// Judges by the exit status and the end of the log, unless these prove nothing about the job.
fn judge_script(run: &Run, Ended { exit, unseen, .. }: &Ended, log: &Log) -> Result<Judgement, End> {
    let tail = log.tail();
    let mut progress = run.progress.lock();
    progress.log_full = log.is_full();
    if *unseen && progress.end_is_unknown(exit, &tail) {
        return Err(End::GivenBack(anyhow!(
            "its container ended unseen, with Docker or the machine, and before the end of its script (exit status {})",
            exit.status
        )));
    }
    let preempted = progress.preempted(exit).map(str::to_owned);
    let judgement = progress.judge(exit, &run.limits, &tail);
    match preempted {
        Some(reason) => Err(End::Preempted { reason, closing: judgement.closing }),
        None => Ok(judgement),
    }
}

/// Examines what a smoke job's training left. The whole log is read again, since an adopted attempt has not seen its
/// start.
async fn examine(run: &Run, smoke: &SmokeJob, ended: &Ended) -> anyhow::Result<Examined> {
    let mut log = LogReader::new();
    log.feed(&run.handles.settings.logs.read(run.attempt, 0, usize::MAX).await?.bytes);
    let mut tries = 0;
    loop {
        match smoke.examine(&run.handles.engine, &ended.container, ended.exit.status, log.series()).await {
            Ok(examined) => return Ok(examined),
            Err(error) => run.handles.health.wait_to_retry(error, &mut tries).await?,
        }
    }
}
