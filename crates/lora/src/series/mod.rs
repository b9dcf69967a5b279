//! The loss of a training, step by step: from its log or the trainer's files to a series and its trend.
//!
//! [`LogReader`] reads a log in pieces, while it grows. [`from_file`] reads the files that trainers write. All input
//! may be hostile, so memory is bounded: [`MAX_POINTS`] points are kept of any series, and constants limit the length
//! of lines and files.

mod bars;
mod count;
mod error;
mod files;
mod grow;
mod json;
mod lines;
mod log;
mod measures;
mod parse;
mod picture;
mod trackers;
mod trend;
mod words;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use error::Error;
pub use files::{MAX_FILE, from_file, read_any};
pub use grow::MAX_POINTS;
pub use log::LogReader;
pub use measures::Measure;
pub use picture::picture;
pub(crate) use trackers::tensorboard::event_checksum;
pub use trend::{Trend, trend};
pub use words::{counted, number, sentence};

/// The loss at one step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = LossPoint))]
pub struct Point {
    /// The step, as the trainer counts.
    pub step: u64,
    /// The loss, which may be NaN or infinite. JSON has no such numbers, so they become the strings `nan`, `inf` and
    /// `-inf`; a null would not distinguish them.
    #[serde(with = "json")]
    #[cfg_attr(feature = "openapi", schema(schema_with = json::schema))]
    pub value: f64,
}

/// The source of a series, which determines the meaning of its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = LossSource))]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The progress bar of sd-scripts. Its `avr_loss` is an average over an epoch's steps.
    SdScripts,
    /// The progress bar of diffusers' scripts and of SimpleTuner.
    Diffusers,
    /// The dicts that the Trainer of transformers prints; LLaMA-Factory, axolotl, TRL.
    HfTrainer,
    /// The progress bar of ai-toolkit.
    AiToolkit,
    /// The progress bar of OneTrainer, one for each epoch.
    OneTrainer,
    /// Lines such as `step 1/3 loss=0.5`, and progress bars of other trainers.
    Plain,
    /// `trainer_log.jsonl` of LLaMA-Factory.
    TrainerLog,
    /// `trainer_state.json` of transformers.
    TrainerState,
    /// Tables of metrics with a row for each step, such as `metrics.csv` of Lightning.
    Metrics,
    /// Event files of TensorBoard.
    TensorBoard,
    /// Logs of Weights & Biases.
    WeightsAndBiases,
    /// Folders of MLflow.
    Mlflow,
}

/// A training's loss. The steps only grow: a step that comes again removes the points from that step on, so that a
/// second training in one log replaces the first.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = LossSeries))]
pub struct Series {
    /// The source; `None` until the first line was recognized.
    pub source: Option<Source>,
    /// True when the values are averages over several steps rather than the loss of each step.
    pub averaged: bool,
    /// The total number of steps, if the training reported it.
    pub steps_wanted: Option<u64>,
    /// The last step that the training is known to have reached, also through progress without a loss.
    pub steps_seen: u64,
    /// The points. A long training keeps only some: the first and the last, and for each stretch in between the
    /// smallest and the largest value and the first and last that are not finite.
    pub points: Vec<Point>,
    /// The other values that the training reported, each with its own steps.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub others: BTreeMap<Measure, Vec<Point>>,
    /// The first of the last steps at which the loss is exactly 0 and something else is NaN: some trainers print 0 for
    /// a loss that is not a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zero_for_nan_since: Option<u64>,
    /// The last value of each name in a file of an experiment tracker.
    #[serde(skip)]
    pub scalars: BTreeMap<String, f64>,
}

impl Series {
    /// Returns the last point.
    pub fn last(&self) -> Option<Point> {
        self.points.last().copied()
    }

    /// Returns the point with the smallest finite value, the first of several.
    pub fn lowest(&self) -> Option<Point> {
        let finite = self.points.iter().copied().filter(|point| point.value.is_finite());
        finite.reduce(|lowest, point| if point.value < lowest.value { point } else { lowest })
    }

    /// Returns the first point whose value is NaN or infinite.
    pub fn first_not_finite(&self) -> Option<Point> {
        self.points.iter().copied().find(|point| !point.value.is_finite())
    }

    /// Returns the points of another value than the loss; none if the training did not report it.
    pub fn other(&self, measure: Measure) -> &[Point] {
        self.others.get(&measure).map_or(&[], Vec::as_slice)
    }

    /// Goes on with the series of a later attempt at the same training, which replaces the points from its first step on.
    /// Returns that step; `None` if the later attempt told of no loss.
    pub fn go_on(&mut self, later: &Self) -> Option<u64> {
        if later.steps_seen > 0 {
            self.steps_seen = later.steps_seen;
            self.steps_wanted = later.steps_wanted.or(self.steps_wanted).filter(|wanted| *wanted >= self.steps_seen);
        }
        let first = later.points.first()?.step;
        let is_before = |point: &Point| point.step < first;
        self.points.retain(is_before);
        self.others.values_mut().for_each(|points| points.retain(is_before));
        self.points.extend(&later.points);
        for (measure, points) in &later.others {
            self.others.entry(*measure).or_default().extend(points.iter().filter(|point| !is_before(point)));
        }
        self.source = later.source.or(self.source);
        self.averaged = later.averaged;
        self.zero_for_nan_since = self.zero_for_nan_since.filter(|step| *step < first).or(later.zero_for_nan_since);
        Some(first)
    }

    /// Returns true if every loss is exactly 0.
    pub fn is_zero(&self) -> bool {
        !self.points.is_empty() && self.points.iter().all(|point| point.value == 0.0)
    }
}

#[cfg(test)]
mod tests;
