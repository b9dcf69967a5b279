//! The judgement of an ended container: the verdict of the script, and of a training.

mod reference;

use std::time::Duration;

use anyhow::anyhow;
use serde_json::Value as Json;
use tracing::warn;

use super::checkout::read_file;
use super::log::Log;
use super::{End, Run, checkpoints};
use crate::attempt::{Ended, Examined, Judged, Output as _, Training, TrainingEnd, never_began};
use crate::domain::{RepoName, Verdict};
use crate::lora::gates::Reference;
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
            Some(examine(run, training, facts, ended, duration).await?)
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
    facts: &BuildFacts,
    ended: &Ended,
    duration: Duration,
) -> anyhow::Result<Examined> {
    let repo = &facts.repo()?;
    let mut log = LogReader::new();
    let mut compared = Reference::Nothing(String::new());
    if let Some(train) = training.whole() {
        checkpoints::read_earlier_logs(run, &mut log).await?;
        compared = reference::find(run, train, repo, facts).await?;
    }
    let gpu_memory = run.progress.lock().gpu_memory();
    log.feed(&run.handles.settings.logs.read(run.attempt, 0, usize::MAX).await?.bytes);
    let mut tries = 0;
    loop {
        let end = TrainingEnd {
            container: &ended.container,
            exit_status: ended.exit.status,
            duration,
            gpu_memory,
            reference: &compared,
            log: log.series(),
        };
        match training.examine(&run.handles.engine, repo, end).await {
            Ok(examined) => {
                let parameters = parameters(run, training, repo, facts).await;
                return Ok(Examined { parameters, ..examined });
            }
            Err(error) => run.handles.health.wait_to_retry(error, &mut tries).await?,
        }
    }
}

/// Returns the keys of the config with which a whole training ran. They are for people and trackers, so a verdict does
/// not wait for them.
async fn parameters(run: &Run, training: &Training, repo: &RepoName, facts: &BuildFacts) -> Vec<(String, Json)> {
    let Some(train) = training.whole() else { return Vec::new() };
    match read_file(&run.handles.mirrors, repo, facts, &train.config).await {
        Ok(config) => train.parameters(&config).all,
        Err(error) => {
            warn!(job = %run.job.id, "cannot read the config of job {}: {error:#}", run.job.id);
            Vec::new()
        }
    }
}
