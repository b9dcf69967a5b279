//! The loss of a training, step by step: its log or the files that trainers write in, a series and its trend out.
//!
//! [`LogReader`] takes a log in pieces, while it grows. [`from_file`] reads what trainers leave behind. All of it may be
//! hostile, so memory is bounded: [`MAX_POINTS`] points are kept of any series, and of a line or a file no more than
//! constants say.

mod bars;
mod files;
mod grow;
mod json;
mod log;
mod parse;
mod tensorboard;
mod trend;

use serde::{Deserialize, Serialize};

pub use files::{Error, MAX_FILE, from_file};
pub use grow::MAX_POINTS;
pub use log::LogReader;
pub use trend::{Trend, trend};

/// The loss at one step.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Point {
    /// The step, as the trainer counts them.
    pub step: u64,
    /// The loss, which may be NaN or infinite. JSON has no such numbers, so there they are the texts `nan`, `inf` and
    /// `-inf`; a null would not say which it was.
    #[serde(with = "json")]
    pub value: f64,
}

/// Where a series was read, which says what its values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
    /// Event files of TensorBoard.
    TensorBoard,
}

/// A training's loss. Its steps only grow: a step that comes again takes the place of what came after it, so that a
/// second training in one log replaces the first.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Series {
    /// Where it was read; none while nothing was.
    pub source: Option<Source>,
    /// Whether the values are averages over some steps, not the loss of each.
    pub averaged: bool,
    /// The steps that the training was to take, if it said so.
    pub steps_wanted: Option<u64>,
    /// The last step that the training is known to have reached, also by progress without a loss.
    pub steps_seen: u64,
    /// The points. Of a long training only some: the first and the last, and of each stretch in between the least and
    /// greatest value and the ends of what is not finite.
    pub points: Vec<Point>,
}

impl Series {
    /// The last point.
    pub fn last(&self) -> Option<Point> {
        self.points.last().copied()
    }

    /// The first point of the least finite value.
    pub fn lowest(&self) -> Option<Point> {
        let finite = self.points.iter().copied().filter(|point| point.value.is_finite());
        finite.reduce(|lowest, point| if point.value < lowest.value { point } else { lowest })
    }

    /// The first point whose value is NaN or infinite.
    pub fn first_not_finite(&self) -> Option<Point> {
        self.points.iter().copied().find(|point| !point.value.is_finite())
    }
}

#[cfg(test)]
mod tests;
