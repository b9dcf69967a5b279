//! The training of a job: the order for it, and the meaning of its end.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::container::checkout_folder;
use super::outputs::outputs;
use super::progress::Judgement;
use super::smoke::SmokeJob;
use super::train::{End, TrainJob};
use crate::domain::{JobKind, RepoName, Verdict};
use crate::executor::{Engine, Limits};
use crate::lora::gates::Reference;
use crate::lora::series::Series;
use crate::lora::smoke::{OUTPUT, Smoke};
use crate::lora::verdict::{Condition, Saved};
use crate::plan::SMOKE_FOLDER;

/// The plan's order for the training of a job.
#[derive(Debug, Clone)]
pub enum Training {
    Smoke(SmokeJob),
    Train(Box<TrainJob>),
}

/// Files and variables that a training needs in its container, besides the checkout.
#[derive(Debug, Clone, Default)]
pub struct Additions {
    /// Absolute paths, with their contents.
    pub files: Vec<(String, Vec<u8>)>,
    pub environment: Vec<(String, String)>,
}

impl From<Smoke> for Additions {
    fn from(smoke: Smoke) -> Self {
        let files = smoke.files.into_iter().map(|file| (format!("{SMOKE_FOLDER}/{}", file.path), file.bytes));
        Self { files: files.collect(), environment: smoke.environment }
    }
}

/// The outcome of a training.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Examined {
    /// The conditions, each with its result.
    pub conditions: Vec<Condition>,
    /// The weights that were saved.
    pub saved: Vec<Saved>,
    /// The numbers that a train job wrote into its `metrics.json`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, f64>,
    /// The keys of a train job's config.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<(String, Json)>,
    /// The series of losses.
    #[serde(skip)]
    pub series: Series,
}

/// The end of a container in which something was trained.
#[derive(Debug, Clone, Copy)]
pub struct TrainingEnd<'a> {
    pub container: &'a str,
    pub exit_status: i64,
    /// Time since the start of the container.
    pub duration: Duration,
    /// Maximum GPU memory of all samples, in bytes; `None` if none was taken.
    pub gpu_memory: Option<u64>,
    /// The numbers with which gates compare.
    pub reference: &'a Reference,
    /// The losses of the job's log.
    pub log: &'a Series,
}

impl Training {
    /// Reads the order from a job's config. Returns `None` for a job that trains nothing: its author may have written
    /// such a key.
    ///
    /// # Errors
    /// Fails when the config is not one that a plan writes.
    pub fn of(kind: JobKind, config: &Json) -> anyhow::Result<Option<Self>> {
        let nothing = &Json::Null;
        Ok(match kind {
            JobKind::Script => None,
            JobKind::Smoke => Some(Self::Smoke(SmokeJob::read(config.get("smoke").unwrap_or(nothing))?)),
            JobKind::Train => Some(Self::Train(Box::new(TrainJob::read(config.get("train").unwrap_or(nothing))?))),
        })
    }

    /// Returns the order of a train job.
    pub fn whole(&self) -> Option<&TrainJob> {
        match self {
            Self::Smoke(_) => None,
            Self::Train(train) => Some(train),
        }
    }

    /// Returns the total number of steps, as far as the config says it.
    pub fn steps(&self) -> Option<u64> {
        match self {
            Self::Smoke(smoke) => Some(smoke.expected_steps.into()),
            Self::Train(train) => train.steps,
        }
    }

    /// Returns the limits of the job.
    pub fn limits(&self, limits: &Limits) -> Limits {
        match self {
            Self::Smoke(smoke) => smoke.limits(limits),
            Self::Train(train) => train.limits(limits),
        }
    }

    /// Returns the folder of the container in which the training saves its results.
    pub fn output_folder(&self, repo: &RepoName) -> String {
        match self {
            Self::Smoke(_) => format!("{SMOKE_FOLDER}/{OUTPUT}"),
            Self::Train(train) => format!("{}/{}", checkout_folder(repo), train.output),
        }
    }

    /// Returns the folder of the container in which a whole training keeps its checkpoints.
    pub fn checkpoint_folder(&self, repo: &RepoName) -> Option<String> {
        self.whole().map(|train| format!("{}/{}", checkout_folder(repo), train.checkpoints()))
    }

    /// Examines what the training left in its ended container.
    ///
    /// # Errors
    /// Fails when the engine does not answer.
    pub async fn examine(
        &self,
        engine: &Engine,
        repo: &RepoName,
        TrainingEnd { container, exit_status, duration, gpu_memory, reference, log }: TrainingEnd<'_>,
    ) -> anyhow::Result<Examined> {
        let mut outputs = outputs(engine, container, &self.output_folder(repo)).await?;
        let series = match outputs.series.take() {
            Some(series) if log.points.is_empty() => series,
            _ => log.clone(),
        };
        let conditions = match self {
            Self::Smoke(smoke) => smoke.conditions(exit_status, &series, &outputs.saved),
            Self::Train(train) => {
                let outputs = &outputs;
                train.conditions(&End { exit_status, duration, gpu_memory, reference, series: &series, outputs })
            }
        };
        let metrics = if let Self::Train(_) = self { outputs.metrics } else { BTreeMap::new() };
        Ok(Examined { conditions, saved: outputs.saved, metrics, parameters: Vec::new(), series })
    }
}

impl Examined {
    /// Applies the conditions to the verdict, and lists them at the end of the log.
    pub fn judge(&self, judgement: &mut Judgement) {
        let failed: Vec<&Condition> = self.conditions.iter().filter(|condition| !condition.holds).collect();
        if let Some(first) = failed.first()
            && judgement.verdict == Verdict::Passed
        {
            judgement.verdict = Verdict::Failed;
            // A status has room for the names of all and for the detail of the first, which is most often why the
            // others fail.
            let names: Vec<&str> = failed.iter().map(|condition| condition.name.as_str()).collect();
            judgement.reason = Some(format!("{}: {}", names.join(", "), first.told));
        }
        judgement.closing.push_str("\nWhat the training did:\n");
        for condition in &self.conditions {
            let (mark, colour) = if condition.holds { ("ok    ", 32) } else { ("failed", 31) };
            let Condition { name, told, .. } = condition;
            judgement.closing.push_str(&format!("  \u{1b}[{colour}m{mark}\u{1b}[0m  {name}: {told}\n"));
        }
    }
}
