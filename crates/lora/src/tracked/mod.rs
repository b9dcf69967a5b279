//! Experiment trackers: a training's series, config and links in the forms that TensorBoard, MLflow and Weights & Biases
//! read.

mod event_file;
mod protobuf;
mod wandb;

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::series::{Measure, Point, Series};

/// A training that has ended, as trackers keep it.
#[derive(Debug, Clone)]
pub struct Tracked<'a> {
    /// Name that no other attempt of this installation has, of letters, digits and dashes.
    pub id: &'a str,
    /// Name for people.
    pub name: &'a str,
    /// `owner/name` of the repository.
    pub repo: &'a str,
    /// The keys of the config.
    pub parameters: &'a [(String, Json)],
    /// Names and addresses of pages.
    pub links: &'a [(&'static str, String)],
    pub series: &'a Series,
    /// Numbers of the whole training.
    pub metrics: &'a BTreeMap<String, f64>,
    pub has_passed: bool,
    /// Begin and end, in seconds since 1970.
    pub began: u64,
    pub ended: u64,
}

impl Tracked<'_> {
    /// Returns the training as an event file of TensorBoard.
    pub fn event_file(&self) -> Vec<u8> {
        event_file::write(self)
    }

    /// Returns the training as the transaction log of an offline run of Weights & Biases.
    pub fn wandb_log(&self) -> Vec<u8> {
        wandb::write(self)
    }

    /// Returns the step at which the training has ended.
    fn last_step(&self) -> u64 {
        self.series.steps_seen.max(self.series.last().map_or(0, |point| point.step))
    }

    /// Returns the values of all curves by their step.
    fn steps(&self) -> BTreeMap<u64, Vec<(&'static str, f64)>> {
        let mut steps: BTreeMap<u64, Vec<(&str, f64)>> = BTreeMap::new();
        for (name, points) in curves(self.series) {
            points.iter().for_each(|point| steps.entry(point.step).or_default().push((name, point.value)));
        }
        steps
    }
}

/// Returns the curves of a training by the names that transformers uses in every tracker.
pub fn curves(series: &Series) -> impl Iterator<Item = (&'static str, &[Point])> {
    let others = Measure::ALL.into_iter().map(|measure| {
        let name = match measure {
            Measure::EvalLoss => "eval/loss",
            Measure::LearningRate => "train/learning_rate",
            Measure::GradientNorm => "train/grad_norm",
        };
        (name, series.other(measure))
    });
    std::iter::once(("train/loss", series.points.as_slice())).chain(others).filter(|(_, points)| !points.is_empty())
}

#[cfg(test)]
mod tests;
