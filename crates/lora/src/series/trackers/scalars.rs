//! Named numbers by steps, as experiment trackers record them, and the series that they are.

use std::collections::BTreeMap;

use crate::series::grow::{Facts, Growing};
use crate::series::lines::is_evaluation;
use crate::series::{Measure, Series, Source};

/// Names under which trainers record the training loss, best first.
const TAGS: [&str; 14] = [
    "loss/average",
    "loss/current",
    "train/loss",
    "loss/train_step",
    "loss",
    "train_loss",
    "step_loss",
    "training_loss",
    "train_loss_step",
    "train/loss_step",
    "Loss/train",
    "loss/train",
    "train_loss_epoch",
    "epoch_loss",
];
/// The name whose values are averages over many steps.
const AVERAGED: &str = "loss/average";

/// Maximum number of names whose last values are kept, and of bytes of a name.
const MAX_SCALARS: usize = 1000;
const MAX_NAME: usize = 200;

/// The numbers of a training.
#[derive(Debug, Default)]
pub(super) struct Scalars {
    /// One for each of [`TAGS`].
    losses: [Growing; TAGS.len()],
    /// The first series that is called a loss under another name, with this name.
    unknown: Option<(String, Growing)>,
    others: Growing,
    /// The last number under each name.
    last: BTreeMap<String, f64>,
}

impl Scalars {
    /// Adds the number that a name has at a step.
    pub(super) fn take(&mut self, step: u64, name: &str, number: f64) {
        self.keep(name, number);
        let growing = match Tag::of(name) {
            Some(Tag::Loss(place)) => &mut self.losses[place],
            Some(Tag::UnknownLoss) => {
                let (known, growing) = self.unknown.get_or_insert_with(|| (name.to_owned(), Growing::default()));
                if known != name {
                    return;
                }
                growing
            }
            Some(Tag::Other(measure)) => {
                let facts = Facts { others: vec![(measure, number)], ..Facts::default() };
                return self.others.take(step, &facts);
            }
            None => return,
        };
        growing.take(step, &Facts { loss: Some(number), ..Facts::default() });
        growing.reach(step, None);
    }

    /// Keeps the last number of a name, until there are too many names.
    fn keep(&mut self, name: &str, number: f64) {
        if let Some(known) = self.last.get_mut(name) {
            *known = number;
        } else if self.last.len() < MAX_SCALARS && (1..=MAX_NAME).contains(&name.len()) {
            self.last.insert(name.to_owned(), number);
        }
    }

    /// Returns the series of the best name of a loss, with the other values.
    pub(super) fn into_series(self, source: Source) -> Series {
        let Self { losses, unknown, others, last } = self;
        let best = TAGS.into_iter().zip(losses).find(|(_, growing)| !growing.series.points.is_empty());
        let (tag, Growing { series, .. }) = best.or(unknown.map(|(_, growing)| ("", growing))).unwrap_or_default();
        let (averaged, others) = (tag == AVERAGED, others.series.others);
        Series { source: Some(source), averaged, others, scalars: last, ..series }
    }
}

/// Meaning of a name: a loss, by its place in [`TAGS`] or not, or another value.
enum Tag {
    Loss(usize),
    UnknownLoss,
    Other(Measure),
}

impl Tag {
    fn of(name: &str) -> Option<Self> {
        if let Some(place) = TAGS.iter().position(|tag| *tag == name) {
            return Some(Self::Loss(place));
        }
        let is_loss = || name.to_ascii_lowercase().ends_with("loss") && !is_evaluation(&name.replace('_', "/"));
        Measure::of_tag(name).map(Self::Other).or_else(|| is_loss().then_some(Self::UnknownLoss))
    }
}
