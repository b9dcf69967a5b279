//! The phase after the end of a container: the verdict of the script, and of a training.

use super::{Ended, Examined, Judgement, Shared};
use crate::executor::Limits;

/// The verdict on an attempt.
#[derive(Debug)]
pub struct Judged {
    pub judgement: Judgement,
    /// The facts of a smoke job's training; `None` for other jobs and for a job that was stopped.
    pub examined: Option<Examined>,
}

/// An end that is not the job's own.
#[derive(Debug)]
pub enum Unjudged {
    /// The container ended with its engine or the machine, for all that is known.
    Unseen(anyhow::Error),
    /// Another job needs the GPUs.
    Preempted {
        reason: String,
        /// The last lines of the log.
        closing: String,
    },
}

impl Ended {
    /// Judges the script by its exit status and the end of its log, unless these prove nothing about the job.
    ///
    /// # Errors
    /// Fails when the end is not the job's own.
    pub fn judge_script(&self, progress: &Shared, limits: &Limits, tail: &str) -> Result<Judgement, Unjudged> {
        let mut progress = progress.lock();
        if self.unseen && progress.end_is_unknown(&self.exit, tail) {
            return Err(Unjudged::Unseen(anyhow::anyhow!(
                "its container ended unseen, with Docker or the machine, and before the end of its script (exit status \
                 {})",
                self.exit.status
            )));
        }
        let preempted = progress.preempted(&self.exit).map(str::to_owned);
        let judgement = progress.judge(&self.exit, limits, tail);
        match preempted {
            Some(reason) => Err(Unjudged::Preempted { reason, closing: judgement.closing }),
            None => Ok(judgement),
        }
    }
}

/// Judges an attempt that is to stop before its container runs. Returns `None` if it may go on.
pub fn judge_unstarted(progress: &Shared, limits: &Limits) -> Option<Result<Judgement, Unjudged>> {
    let judgement = progress.lock().judge_unstarted(limits)?;
    let reason = judgement.reason.clone().unwrap_or_default();
    let is_preempted = progress.lock().is_preempted();
    Some(if is_preempted { Err(Unjudged::Preempted { reason, closing: judgement.closing }) } else { Ok(judgement) })
}

impl Judged {
    /// Lets the facts of a training, if there are any, decide about the script's verdict.
    pub fn new(mut judgement: Judgement, examined: Option<Examined>) -> Self {
        if let Some(examined) = &examined {
            examined.judge(&mut judgement);
        }
        Self { judgement, examined }
    }
}
