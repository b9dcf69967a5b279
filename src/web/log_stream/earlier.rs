//! The losses of a training that several attempts have gone on with.

use super::reading::Reading;
use crate::domain::AttemptId;
use crate::lora::series::Series;
use crate::store::output::checkpoints;
use crate::store::queue;
use crate::web::State;
use crate::web::chart::{Chart, chart};

/// The losses of the attempts with whose training an attempt goes on.
#[derive(Debug, Clone, Default)]
pub(in crate::web) struct Earlier {
    series: Series,
    /// Steps at which attempts went on.
    resumed: Vec<u64>,
    is_some: bool,
}

/// The losses of a whole training.
#[derive(Debug, Clone)]
pub(in crate::web) struct Whole {
    pub(in crate::web) series: Series,
    /// Steps at which attempts went on from a checkpoint.
    pub(in crate::web) resumed: Vec<u64>,
}

impl Earlier {
    /// Reads the logs of the earlier attempts. There is nothing to read for an attempt that has begun anew.
    pub(in crate::web) async fn read(state: &State, attempt: AttemptId) -> anyhow::Result<Self> {
        let mut earlier = Self::default();
        let Some(since) = checkpoints::resumed_since(&state.db, attempt).await? else { return Ok(earlier) };
        for number in since..attempt.number {
            let before = AttemptId { number, ..attempt };
            let Some(length) = queue::earlier_log_length(&state.db, before).await? else { continue };
            let mut losses = Reading::new(state, before).losses(length.unsigned_abs()).await?;
            losses.finish();
            earlier.add(losses.series());
        }
        Ok(earlier)
    }

    fn add(&mut self, later: &Series) {
        let first = self.series.go_on(later);
        if let Some(first) = first.filter(|_| self.is_some) {
            self.resumed.retain(|step| *step < first);
            self.resumed.push(first);
        }
        self.is_some |= first.is_some();
    }

    /// Returns the losses of these attempts and of the attempt itself.
    pub(in crate::web) fn with(&self, own: &Series) -> Whole {
        let mut whole = self.clone();
        whole.add(own);
        Whole { series: whole.series, resumed: whole.resumed }
    }

    /// Draws the losses of these attempts and of the attempt itself. Returns `None` if there are none.
    pub(in crate::web) fn chart(&self, own: &Series) -> Option<Chart> {
        let Whole { series, resumed } = self.with(own);
        chart(&series, &resumed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lora::series::LogReader;

    fn series(steps: std::ops::RangeInclusive<u64>) -> Series {
        let mut reader = LogReader::new();
        steps.for_each(|step| reader.feed(format!("step {step}/100 loss=0.{}\n", 100 - step).as_bytes()));
        reader.series().clone()
    }

    #[test]
    fn an_attempt_goes_on_where_its_first_step_is() {
        let mut earlier = Earlier::default();
        earlier.add(&series(1..=50));
        assert_eq!(earlier.with(&Series::default()).resumed, [] as [u64; 0], "it has not begun yet");
        earlier.add(&series(41..=70));
        // The checkpoint of this attempt was lost: the next one went on from an earlier one.
        let whole = earlier.with(&series(31..=60));
        let steps: Vec<u64> = whole.series.points.iter().map(|point| point.step).collect();
        assert_eq!((steps, whole.resumed), ((1..=60).collect(), vec![31]));
        let whole = earlier.with(&series(61..=99));
        assert_eq!((whole.series.points.len(), whole.resumed), (99, vec![41, 61]));
        assert_eq!((whole.series.steps_seen, whole.series.steps_wanted), (99, Some(100)));
    }

    #[test]
    fn an_attempt_that_begins_anew_has_its_own_losses() {
        let whole = Earlier::default().with(&series(1..=20));
        assert_eq!((whole.series.points.len(), whole.resumed), (20, Vec::new()));
    }
}
