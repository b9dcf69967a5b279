//! A smoke job: the files that its container gets, and the meaning of its end.

use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::outputs::{Outputs, outputs};
use super::progress::Judgement;
use crate::domain::{JobKind, Verdict};
use crate::executor::{Engine, Limits};
use crate::lora::series::Series;
use crate::lora::smoke::{Ask, OUTPUT};
use crate::lora::verdict::{Condition, Ended, Saved, conditions};
use crate::plan::SMOKE_FOLDER;

/// The plan's order for a smoke job, under `smoke` of its config.
#[derive(Debug, Clone, Deserialize)]
pub struct SmokeJob {
    /// Path of the training config in the repository.
    pub config: String,
    steps: u32,
    resolution: u32,
    command: Option<String>,
    /// The steps that the trainer will take. A trainer that counts epochs may take more than were asked for.
    expected_steps: u32,
    /// Wall time of the job in seconds; the server's own limit may be lower.
    timeout: u64,
}

/// The outcome of the training.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Examined {
    /// The conditions, each with its result.
    pub conditions: Vec<Condition>,
    /// The weights that were saved.
    pub saved: Vec<Saved>,
    /// The series of losses.
    #[serde(skip)]
    pub series: Series,
}

/// Returns the folder of the container in which the training of a smoke job saves its results.
pub fn output_folder() -> String {
    format!("{SMOKE_FOLDER}/{OUTPUT}")
}

impl SmokeJob {
    /// Reads the order from a job's config. Returns `None` for a job of another kind: its author may have written such
    /// a key.
    ///
    /// # Errors
    /// Fails when the config is not one that a plan writes.
    pub fn of(kind: JobKind, config: &Json) -> anyhow::Result<Option<Self>> {
        let smoke = config.get("smoke").filter(|_| kind == JobKind::Smoke);
        smoke.map(|smoke| Self::deserialize(smoke).context("the config of a smoke job")).transpose()
    }

    /// Returns the request, to derive the training again as the plan did.
    pub fn ask(&self) -> Ask {
        Ask { steps: self.steps, resolution: self.resolution, command: self.command.clone() }
    }

    /// Returns the limits of the job.
    pub fn limits(&self, limits: &Limits) -> Limits {
        Limits { time: limits.time.min(Duration::from_secs(self.timeout)), ..limits.clone() }
    }

    /// Examines what the training left in its ended container.
    ///
    /// # Errors
    /// Fails when the engine does not answer.
    pub async fn examine(
        &self,
        engine: &Engine,
        container: &str,
        exit_status: i64,
        log: &Series,
    ) -> anyhow::Result<Examined> {
        let Outputs { saved, series } = outputs(engine, container, &output_folder()).await?;
        let series = match series {
            Some(series) if log.points.is_empty() => series,
            _ => log.clone(),
        };
        let ended = Ended { exit_status, steps: self.expected_steps, series: &series, saved: &saved };
        Ok(Examined { conditions: conditions(&ended), saved, series })
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
