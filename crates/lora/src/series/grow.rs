//! Series that grow within a fixed bound.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Measure, Point, Series, Source};

/// Maximum number of points kept of a series: more than a screen has columns.
pub const MAX_POINTS: usize = 4096;
/// Maximum number of points kept of a series that is not the loss.
const MAX_OTHERS: usize = MAX_POINTS / 4;
/// The number of points in a stretch to which a full series is thinned. Each keeps at most four points, so half of the
/// capacity is free again.
const STRETCH: usize = 8;

/// A training's series, and the state that the next point depends on.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Growing {
    pub series: Series,
    loss: Ordinals,
    others: BTreeMap<Measure, Ordinals>,
}

/// Values beside the step in a line of a log, or in an entry of a file.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    pub loss: Option<f64>,
    pub others: Vec<(Measure, f64)>,
    /// True when something other than the loss is not a number.
    pub is_broken: bool,
}

impl Growing {
    /// Resets the series and sets its source.
    pub(super) fn begin(&mut self, source: Source) {
        *self = Self { series: Series { source: Some(source), ..Series::default() }, ..Self::default() };
    }

    /// Records what was told at a step. A loss removes all points after its step.
    pub(super) fn take(&mut self, step: u64, facts: &Facts) {
        if let Some(loss) = facts.loss {
            self.loss.push(&mut self.series.points, MAX_POINTS, step, loss);
            for (measure, points) in &mut self.series.others {
                if let Some(ordinals) = self.others.get_mut(measure) {
                    ordinals.cut(points, step.saturating_add(1));
                }
            }
            let is_hidden = loss == 0.0 && facts.is_broken;
            let since = self.series.zero_for_nan_since.filter(|since| *since <= step);
            self.series.zero_for_nan_since = is_hidden.then_some(since.unwrap_or(step));
        }
        for (measure, value) in &facts.others {
            let points = self.series.others.entry(*measure).or_default();
            self.others.entry(*measure).or_default().push(points, MAX_OTHERS, step, *value);
        }
    }

    /// Moves the last points to a step, if they are at the step of the last loss.
    pub(super) fn move_last(&mut self, to: u64) {
        let Some(last) = self.series.last() else { return };
        let mut facts = Facts { loss: Some(last.value), ..Facts::default() };
        for (measure, points) in &mut self.series.others {
            if let Some(point) = points.pop_if(|point| point.step == last.step) {
                self.others.entry(*measure).or_default().drop_last();
                facts.others.push((*measure, point.value));
            }
        }
        let since = self.series.zero_for_nan_since;
        facts.is_broken = since.is_some();
        self.series.zero_for_nan_since = since.map(|since| if since == last.step { to } else { since.min(to) });
        self.series.points.pop();
        self.loss.drop_last();
        self.take(to, &facts);
    }

    /// Multiplies each step by `times`.
    pub(super) fn stretch(&mut self, times: u64) {
        let times = times.max(1);
        let all = std::iter::once(&mut self.series.points).chain(self.series.others.values_mut());
        all.flatten().for_each(|point| point.step = point.step.saturating_mul(times));
        self.series.zero_for_nan_since = self.series.zero_for_nan_since.map(|since| since.saturating_mul(times));
    }

    /// Records that the training has reached a step, and the total number of steps if it is known.
    pub(super) fn reach(&mut self, step: u64, wanted: Option<u64>) {
        self.series.steps_seen = step;
        // The total of one epoch is no total once the training is further on.
        self.series.steps_wanted = wanted.or(self.series.steps_wanted).filter(|wanted| *wanted >= step);
    }
}

/// The ordinal number of each kept point among all points of a series. Stretches are formed by these, since steps come
/// from the trainer and need not be evenly spaced.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Ordinals {
    kept: Vec<u64>,
    taken: u64,
}

impl Ordinals {
    /// Appends a point, and removes the points at its step or later.
    fn push(&mut self, points: &mut Vec<Point>, most: usize, step: u64, value: f64) {
        self.cut(points, step);
        points.push(Point { step, value });
        self.kept.push(self.taken);
        self.taken += 1;
        if points.len() > most {
            self.thin(points, most / STRETCH);
        }
    }

    /// Removes the points at a step or later.
    fn cut(&mut self, points: &mut Vec<Point>, step: u64) {
        while points.pop_if(|last| last.step >= step).is_some() {
            self.drop_last();
        }
    }

    fn drop_last(&mut self) {
        self.kept.pop();
    }

    fn thin(&mut self, thinned: &mut Vec<Point>, stretches: usize) {
        let points = std::mem::take(thinned);
        let ordinals = std::mem::take(&mut self.kept);
        let begin = ordinals.first().copied().unwrap_or(0);
        let length = (self.taken - begin).div_ceil(stretches as u64).max(1);
        let mut at = 0;
        for group in ordinals.chunk_by(|a, b| (a - begin) / length == (b - begin) / length) {
            let end = at + group.len();
            let mut keep = kept(&points[at..end]);
            // The first and the last point of the series are always kept.
            keep.extend((at == 0).then_some(0));
            keep.extend((end == points.len()).then_some(group.len() - 1));
            keep.sort_unstable();
            keep.dedup();
            thinned.extend(keep.iter().map(|place| points[at + place]));
            self.kept.extend(keep.iter().map(|place| group[*place]));
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
