//! The judgement of an ended container: the verdict of the script, and of a training.

use std::time::Duration;

use anyhow::anyhow;

use super::log::Log;
use super::{End, Run, checkpoints};
use crate::attempt::{Ended, Examined, Judged, Output as _, Training, TrainingEnd, never_began};
use crate::domain::{RepoName, Verdict};
use crate::lora::series::LogReader;
use crate::store::builds::BuildFacts;
use crate::store::queue;

/// Judges an attempt whose container has ended.
pub(super) async fn judge(run: &Run, facts: &BuildFacts, ended: &Ended, log: &Log) -> Result<Judged, End> {
    let duration = run.progress.lock().started.map_or(Duration::ZERO, |started| started.elapsed());
    if has_never_begun(run, ended).await? {
        // Nothing of the job has run, even if a row already says that it must run only once.
        queue::run_only_once(&run.handles.db, run.attempt, None).await.map_err(anyhow::Error::from)?;
        return Err(End::GivenBack(anyhow!("its container ended before the job began")));
    }
    run.progress.lock().log_full = log.is_full();
    let judgement = ended.judge_script(&run.progress, &run.limits, &log.tail())?;
    let examined = match run.training()? {
        Some(training) if matches!(judgement.verdict, Verdict::Passed | Verdict::Failed) => {
            Some(examine(run, training, &facts.repo()?, ended, duration).await?)
        }
        _ => None,
    };
    Ok(Judged::new(judgement, examined))
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

/// Examines what a training left. The whole log is read again, since an adopted attempt has not seen its start.
async fn examine(
    run: &Run,
    training: &Training,
    repo: &RepoName,
    ended: &Ended,
    duration: Duration,
) -> anyhow::Result<Examined> {
    let mut log = LogReader::new();
    if training.whole().is_some() {
        checkpoints::read_earlier_logs(run, &mut log).await?;
    }
    log.feed(&run.handles.settings.logs.read(run.attempt, 0, usize::MAX).await?.bytes);
    let mut tries = 0;
    loop {
        let end =
            TrainingEnd { container: &ended.container, exit_status: ended.exit.status, duration, log: log.series() };
        match training.examine(&run.handles.engine, repo, end).await {
            Ok(examined) => return Ok(examined),
            Err(error) => run.handles.health.wait_to_retry(error, &mut tries).await?,
        }
    }
}
