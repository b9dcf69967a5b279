//! The count of a training's steps, from counts that may restart in each epoch.

use serde::{Deserialize, Serialize};

use super::lines::Counted;

/// The count in a line or a bar.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    pub step: u64,
    pub total: Option<u64>,
    /// The epoch and the total number of epochs.
    pub epoch: Option<Counted>,
    pub covers: Covers,
}

/// Scope of a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Covers {
    Training,
    /// A single epoch. The next one begins at 0 again.
    Epoch,
    /// The training or an epoch, which only a new start after the end shows.
    Unknown,
}

/// The current count of steps.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Count {
    pub step: u64,
    pub total: Option<u64>,
    pub epoch: Option<u64>,
    /// True when the first epoch is 0, as in Lightning.
    from_zero: bool,
    /// The number of steps in earlier epochs.
    before: u64,
}

impl Count {
    /// Returns the step within the whole training, and the total number of steps. `epochs` is the total number of epochs
    /// where the count itself does not have it.
    pub(super) fn place(&mut self, told: &Told, epochs: Option<u64>) -> (u64, Option<u64>) {
        let epoch = told.epoch.map(|(epoch, _)| epoch);
        self.from_zero |= epoch == Some(0);
        let grew = self.epoch.zip(epoch).map(|(before, now)| now > before);
        if told.step < self.step || (told.step == self.step && grew == Some(true)) {
            // The bars of some trainers do not contain the epoch.
            let all_done = told.covers != Covers::Training && self.total == Some(self.step);
            if grew.unwrap_or(all_done) {
                self.before = self.before.saturating_add(self.total.unwrap_or(0).max(self.step));
            } else {
                // Another training, or the same one restarted from an earlier step.
                self.before = 0;
            }
        }
        (self.step, self.total, self.epoch) = (told.step, told.total, epoch);
        let of = told.epoch.and_then(|(_, of)| of).map(|of| of.saturating_add(u64::from(self.from_zero)));
        let is_part = self.before > 0 || told.covers == Covers::Epoch;
        let wanted = match (told.total, of.or(epochs)) {
            (Some(total), Some(epochs)) if is_part => Some(total.saturating_mul(epochs)),
            (total, _) => total.filter(|_| !is_part),
        };
        (self.before.saturating_add(told.step), wanted)
    }
}
