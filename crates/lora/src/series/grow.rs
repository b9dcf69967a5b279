//! A series that grows within a fixed bound.

use serde::{Deserialize, Serialize};

use super::{Point, Series, Source};

/// Maximum number of points kept: more than a screen has columns.
pub const MAX_POINTS: usize = 4096;
/// The number of stretches to which a full series is thinned. Each keeps at most four points, so half of the capacity
/// is free again.
const STRETCHES: usize = MAX_POINTS / 8;

/// A series, and the state that the next point depends on.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Growing {
    pub series: Series,
    /// The ordinal number of each kept point among all points. Stretches are formed by these, since steps come from the
    /// trainer and need not be evenly spaced.
    ordinals: Vec<u64>,
    taken: u64,
}

impl Growing {
    /// Resets the series and sets its source.
    pub(super) fn begin(&mut self, source: Source) {
        *self = Self { series: Series { source: Some(source), ..Series::default() }, ..Self::default() };
    }

    /// Appends a point, and removes the points at its step or later.
    pub(super) fn push(&mut self, step: u64, value: f64) {
        while self.series.points.last().is_some_and(|last| last.step >= step) {
            self.series.points.pop();
            self.ordinals.pop();
        }
        self.series.points.push(Point { step, value });
        self.ordinals.push(self.taken);
        self.taken += 1;
        if self.series.points.len() > MAX_POINTS {
            self.thin();
        }
    }

    /// Removes and returns the last point.
    pub(super) fn take_last(&mut self) -> Option<Point> {
        self.ordinals.pop();
        self.series.points.pop()
    }

    /// Multiplies each step by `times`.
    pub(super) fn stretch(&mut self, times: u64) {
        self.series.points.iter_mut().for_each(|point| point.step = point.step.saturating_mul(times.max(1)));
    }

    /// Records that the training has reached a step, and the total number of steps if it is known.
    pub(super) fn reach(&mut self, step: u64, wanted: Option<u64>) {
        self.series.steps_seen = step;
        self.series.steps_wanted = wanted.or(self.series.steps_wanted);
    }

    fn thin(&mut self) {
        let points = std::mem::take(&mut self.series.points);
        let ordinals = std::mem::take(&mut self.ordinals);
        let begin = ordinals.first().copied().unwrap_or(0);
        let length = (self.taken - begin).div_ceil(STRETCHES as u64).max(1);
        let mut at = 0;
        for group in ordinals.chunk_by(|a, b| (a - begin) / length == (b - begin) / length) {
            let end = at + group.len();
            let mut keep = kept(&points[at..end]);
            // The first and the last point of the series are always kept.
            keep.extend((at == 0).then_some(0));
            keep.extend((end == points.len()).then_some(group.len() - 1));
            keep.sort_unstable();
            keep.dedup();
            self.series.points.extend(keep.iter().map(|place| points[at + place]));
            self.ordinals.extend(keep.iter().map(|place| group[*place]));
            at = end;
        }
    }
}

/// Returns the indices of a stretch's most informative points: the smallest and the largest value, and the first and
/// last that are not finite.
fn kept(stretch: &[Point]) -> Vec<usize> {
    let finite = || stretch.iter().enumerate().filter(|(_, point)| point.value.is_finite());
    let order = |(_, a): &(usize, &Point), (_, b): &(usize, &Point)| a.value.total_cmp(&b.value);
    let least = finite().min_by(order).map(|(place, _)| place);
    let greatest = finite().max_by(order).map(|(place, _)| place);
    let first = stretch.iter().position(|point| !point.value.is_finite());
    let last = stretch.iter().rposition(|point| !point.value.is_finite());
    [least, greatest, first, last].into_iter().flatten().collect()
}
