//! A train job: a whole training with the team's own config.

use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::Value as Json;

use super::Additions;
use super::outputs::Outputs;
use crate::domain::AttemptId;
use crate::executor::Limits;
use crate::lora::Change;
use crate::lora::gates::{Facts, Gates, Reference};
use crate::lora::input::Input;
use crate::lora::parameters::{Parameters, parameters};
use crate::lora::series::Series;
use crate::lora::smoke::Unfit;
use crate::lora::train::{Changed, changed, resuming};
use crate::lora::verdict::{Condition, Ended, conditions};

/// The plan's order for a train job, under `train` of its config.
#[derive(Debug, Clone, Deserialize)]
pub struct TrainJob {
    /// Path of the training config in the repository.
    pub config: String,
    /// The folder in which the trainer saves, from the root of the repository.
    pub output: String,
    /// The folder in which the trainer keeps its checkpoints, if it is another one.
    checkpoints: Option<String>,
    /// Wall time of the job in seconds; the server's own limit may be lower.
    timeout: Option<u64>,
    /// The total number of steps, if the config says it.
    #[serde(default)]
    pub(super) steps: Option<u64>,
    /// True when the config lets the trainer stop before its last step.
    may_stop_early: bool,
    /// The changes to the config.
    changes: Vec<Change>,
    /// The data that the service brings.
    #[serde(default)]
    pub inputs: Vec<Input>,
    gates: Gates,
}

/// The end of a training.
pub(super) struct End<'a> {
    pub(super) exit_status: i64,
    pub(super) duration: Duration,
    pub(super) gpu_memory: Option<u64>,
    pub(super) reference: &'a Reference,
    pub(super) series: &'a Series,
    pub(super) outputs: &'a Outputs,
}

impl TrainJob {
    pub(super) fn read(order: &Json) -> anyhow::Result<Self> {
        Self::deserialize(order).context("the config of a train job")
    }

    /// Returns what the training needs besides the checkout. `config` is the config as the commit has it.
    ///
    /// # Errors
    /// Fails if the config cannot be changed as the plan has found that it can.
    pub fn additions(&self, config: &[u8], attempt: AttemptId) -> Result<Additions, Unfit> {
        let environment = vec![("TRAINYARD_ATTEMPT".to_owned(), attempt.number.to_string())];
        if self.changes.is_empty() {
            return Ok(Additions { files: Vec::new(), environment });
        }
        let Changed { path, text } = changed(&self.config, config, &self.changes)?;
        Ok(Additions { files: vec![(path, text.into_bytes())], environment })
    }

    /// Returns what a training needs to go on from its checkpoint, besides the checkpoint itself.
    ///
    /// # Errors
    /// Fails as [`TrainJob::additions`] does.
    pub fn to_go_on(&self, config: &[u8]) -> Result<Additions, Unfit> {
        let Some(Changed { path, text }) = resuming(&self.config, config, &self.changes)? else {
            return Ok(Additions::default());
        };
        let environment = vec![("RESUME_CONFIG".to_owned(), path.clone())];
        Ok(Additions { files: vec![(path, text.into_bytes())], environment })
    }

    /// Returns the folder in which the trainer keeps its checkpoints, from the root of the repository.
    pub(super) fn checkpoints(&self) -> &str {
        self.checkpoints.as_deref().unwrap_or(&self.output)
    }

    pub fn gates(&self) -> &Gates {
        &self.gates
    }

    /// Returns the changes to the config.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Returns the keys with which the training runs. `config` is the config as the commit has it.
    pub fn parameters(&self, config: &[u8]) -> Parameters {
        parameters(&self.config, config, &self.changes)
    }

    /// Returns the limits of the job. Its time is that of trainings, not that of other jobs.
    pub(super) fn limits(&self, limits: &Limits) -> Limits {
        let asked = self.timeout.map_or(limits.train_time, Duration::from_secs);
        Limits { time: limits.train_time.min(asked), ..limits.clone() }
    }

    /// Returns the conditions that the training has to meet, and its gates.
    pub(super) fn conditions(&self, end: &End<'_>) -> Vec<Condition> {
        let Outputs { saved, metrics, scalars, samples, .. } = end.outputs;
        let steps = end.series.steps_wanted.filter(|_| !self.may_stop_early);
        let mut all = conditions(&Ended { exit_status: end.exit_status, steps, series: end.series, saved });
        let facts = Facts {
            series: end.series,
            saved,
            metrics,
            scalars,
            samples: *samples,
            duration: end.duration,
            gpu_memory: end.gpu_memory,
            reference: end.reference,
        };
        all.extend(self.gates.check(&facts));
        all
    }
}
