//! The place of a point in the plot, and the labels at its edges.

use std::fmt::Write as _;

use crate::lora::series::{Point, counted, number};

/// Number of intervals between ticks over the whole of an axis: labels then fit into the narrowest window.
const STEP_TICKS: u32 = 5;
const VALUE_TICKS: u32 = 6;
/// Ratio of the largest to the smallest value above which the axis is logarithmic.
const WIDE: f64 = 100.0;

/// The names of the two axes, and how they are drawn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    /// Name of the values.
    pub(super) value: &'static str,
    /// Name of the steps.
    pub(super) step: &'static str,
    /// Number of steps that make one on the axis.
    pub(super) unit: u64,
    /// True when both axes begin at 0, as for an amount over time.
    pub(super) from_zero: bool,
}

/// Both axes of a plot.
#[derive(Debug)]
pub(super) struct Axes {
    steps: (f64, f64),
    values: (f64, f64),
    is_log: bool,
    kind: Kind,
}

impl Axes {
    /// Makes axes with room for the points, which come in the order of their steps, or as several such lines.
    pub(super) fn of(points: &[Point], kind: Kind) -> Self {
        let steps = || points.iter().map(|point| point.step);
        let (first, last) = (steps().min().unwrap_or(0), steps().max().unwrap_or(0));
        let steps = match (as_float(first), as_float(last)) {
            (_, last) if kind.from_zero => (0.0, last.max(as_float(kind.unit))),
            (first, last) if first >= last => (first - 0.5, first + 0.5),
            // A training that was read from its start begins at the corner of the plot.
            (first, last) if first <= last / 20.0 => (0.0, last),
            both => both,
        };
        let finite = || points.iter().map(|point| point.value).filter(|value| value.is_finite());
        // Limits the values, so that no difference of two is infinite.
        let most = f64::MAX / 4.0;
        let low = finite().fold(f64::INFINITY, f64::min).clamp(-most, most);
        let high = finite().fold(f64::NEG_INFINITY, f64::max).clamp(-most, most);
        if finite().next().is_none() {
            return Self { steps, values: (0.0, 1.0), is_log: false, kind };
        }
        if kind.from_zero {
            let high = if high > 0.0 { high * 1.06 } else { 1.0 };
            return Self { steps, values: (0.0, high), is_log: false, kind };
        }
        let is_log = low > 0.0 && high / low > WIDE;
        let (low, high) = if is_log { (low.log10(), high.log10()) } else { (low, high) };
        let room = match (high - low) * 0.06 {
            room if room > low.abs() * 1e-9 => room,
            _ if low == 0.0 => 1.0,
            _ => low.abs() * 0.1,
        };
        Self { steps, values: (low - room, high + room), is_log, kind }
    }

    /// Returns the place of a step, counted from the left, from 0 to 100.
    pub(super) fn x(&self, step: u64) -> f64 {
        place(as_float(step), self.steps)
    }

    /// Returns the place of a value, counted from the top, from 0 to 100.
    pub(super) fn y(&self, value: f64) -> f64 {
        100.0 - place(if self.is_log { value.log10() } else { value }, self.values)
    }

    /// Draws the lines and labels of the axes.
    pub(super) fn draw(&self, svg: &mut String) {
        let named = if self.is_log { format!("{} (log)", self.kind.value) } else { self.kind.value.to_owned() };
        // Writing to a String cannot fail.
        let _ = writeln!(svg, "<text class=\"axis\" x=\"0\" dx=\"-48\" y=\"0\" dy=\"-14\">{named}</text>");
        for (value, label) in self.value_ticks() {
            let y = short(100.0 - place(value, self.values));
            let _ = writeln!(
                svg,
                "<line class=\"grid\" x1=\"0\" x2=\"100%\" y1=\"{y}%\" y2=\"{y}%\"/>\
                 <text class=\"y\" x=\"0\" dx=\"-8\" y=\"{y}%\" dy=\"4\">{label}</text>"
            );
        }
        for step in self.step_ticks() {
            let (x, label) = (short(self.x(step * self.kind.unit)), compact(step));
            let _ = writeln!(
                svg,
                "<svg x=\"{x}%\" y=\"100%\" overflow=\"visible\"><path class=\"tick\" d=\"M0 0v5\"/></svg>\
                 <text class=\"x\" x=\"{x}%\" y=\"100%\" dy=\"18\">{label}</text>"
            );
        }
        let _ = writeln!(
            svg,
            "<line class=\"base\" x1=\"0\" x2=\"100%\" y1=\"100%\" y2=\"100%\"/>\
             <text class=\"axis end\" x=\"100%\" y=\"100%\" dy=\"36\">{}</text>",
            self.kind.step
        );
    }

    fn step_ticks(&self) -> Vec<u64> {
        let unit = as_float(self.kind.unit);
        let steps = (self.steps.0 / unit, self.steps.1 / unit);
        let distance = nice((steps.1 - steps.0) / f64::from(STEP_TICKS)).max(1.0);
        let mut ticks: Vec<u64> = multiples(distance, steps).filter(|step| *step >= 0.0).map(as_count).collect();
        ticks.dedup();
        ticks
    }

    /// Returns the ticks of the value axis with their labels. On a logarithmic axis, ticks are magnitudes.
    fn value_ticks(&self) -> Vec<(f64, String)> {
        let span = self.values.1 - self.values.0;
        if self.is_log {
            let distance = (span / f64::from(VALUE_TICKS)).ceil().max(1.0);
            let steps: &[f64] = if span < 3.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
            let power = |tick: f64| steps.iter().map(move |step| tick + step.log10());
            let below = (self.values.0 - distance, self.values.1);
            let ticks = multiples(distance, below).flat_map(power);
            let inside = ticks.filter(|tick| (self.values.0..=self.values.1).contains(tick));
            return inside.map(|tick| (tick, number(10f64.powf(tick)))).collect();
        }
        let distance = nice(span / f64::from(VALUE_TICKS));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 12")]
        let decimals = (-distance.log10().floor()).clamp(0.0, 12.0) as usize;
        let is_plain = (1e-6..1e6).contains(&self.values.1.abs().max(self.values.0.abs())) && distance >= 1e-9;
        let label = |tick: f64| match tick {
            // A zero that was rounded from below would have a sign.
            tick if tick.abs() < distance / 2.0 => "0".to_owned(),
            tick if is_plain => format!("{tick:.decimals$}"),
            tick => number(tick),
        };
        multiples(distance, self.values).map(|tick| (tick, label(tick))).collect()
    }
}

/// Returns the multiples of `distance` in a range. There are few, whatever the range is.
fn multiples(distance: f64, (from, to): (f64, f64)) -> impl Iterator<Item = f64> {
    let first = (from / distance).ceil();
    (0..=2 * VALUE_TICKS)
        .map(move |n| (first + f64::from(n)) * distance)
        .take_while(move |tick| *tick <= to + distance * 1e-9)
}

/// Returns the least of 1, 2, 5, 10, 20, … and their fractions that is not below `least`.
fn nice(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0].into_iter().map(|n| n * power).find(|n| *n >= least * 0.999).unwrap_or(10.0 * power)
}

fn place(value: f64, (from, to): (f64, f64)) -> f64 {
    if from >= to {
        // The numbers are so large, or so small, that there are none between them.
        return 50.0;
    }
    ((value - from) / (to - from) * 100.0).clamp(0.0, 100.0)
}

#[expect(clippy::cast_precision_loss, reason = "for a place on a screen")]
fn as_float(step: u64) -> f64 {
    step as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a multiple that is not negative")]
fn as_count(step: f64) -> u64 {
    step.round() as u64
}

/// Formats a number for an attribute, without digits that no screen shows.
pub(super) fn short(number: f64) -> String {
    let text = format!("{number:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Formats a count in few characters, for a tick: `500`, `2.5k`, `10M`.
fn compact(count: u64) -> String {
    let scaled = |unit: f64, name: &str| format!("{}{name}", short(as_float(count) / unit));
    match count {
        ..10_000 => counted(count),
        10_000..1_000_000 => scaled(1e3, "k"),
        1_000_000..1_000_000_000 => scaled(1e6, "M"),
        _ => number(as_float(count)),
    }
}
