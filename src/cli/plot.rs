//! A chart of a series for terminals, drawn with the dots of braille characters: eight in each character.

use super::table::{Colour, paint};
use crate::lora::series::{Point, counted, number};

/// Number of lines of the plot.
const LINES: usize = 10;
/// Number of dots in a character, across and down.
const ACROSS: usize = 2;
const DOWN: usize = 4;
/// Minimum number of characters across, also in a narrower terminal.
const NARROWEST: usize = 16;
/// Ratio of the largest to the smallest value above which the axis is logarithmic.
const WIDE: f64 = 100.0;
/// Stands below a step whose value is NaN or infinite.
const BROKEN: char = '×';
/// The bits of a braille character's dots, by row and column.
const BITS: [[u32; ACROSS]; DOWN] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];

/// The scale of the values.
struct Scale {
    low: f64,
    high: f64,
    is_log: bool,
}

/// Draws the points, in at most `width` columns. Returns an empty text if no value is finite.
pub(super) fn plot(points: &[Point], width: usize, colour: Colour, colours: bool) -> String {
    let Some(scale) = Scale::of(points) else { return String::new() };
    let labels = [scale.high, f64::midpoint(scale.high, scale.low), scale.low].map(|value| scale.label(value));
    let margin = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0);
    let columns = width.saturating_sub(margin + 2).max(NARROWEST);
    let steps = (points.first().map_or(0, |point| point.step), points.last().map_or(0, |point| point.step));
    let mut text = String::new();
    for (line, cells) in curve(points, columns, steps, &scale).iter().enumerate() {
        let label = match line {
            0 => &labels[0],
            _ if line == LINES / 2 => &labels[1],
            _ if line == LINES - 1 => &labels[2],
            _ => "",
        };
        let cells: String = cells.iter().collect();
        let (label, cells) =
            (paint(&format!("{label:>margin$} │"), Colour::Faint, colours), cells.trim_end().to_owned());
        text.push_str(&format!("{label}{}\n", if cells.is_empty() { cells } else { paint(&cells, colour, colours) }));
    }
    text.push_str(&axis(points, columns, margin, steps, colours));
    text
}

/// Draws the axis of the steps: its ends, the steps without a finite value, and the scale if it is not linear.
fn axis(points: &[Point], columns: usize, margin: usize, steps: (u64, u64), colours: bool) -> String {
    let mut line = vec!['─'; columns];
    for point in points.iter().filter(|point| !point.value.is_finite()) {
        line[place(point.step, steps, columns)] = BROKEN;
    }
    let is_broken = line.contains(&BROKEN);
    let line: String = line.into_iter().collect();
    let (first, last) = (counted(steps.0), counted(steps.1));
    let ends = match steps.0 == steps.1 {
        true => format!("step {first}"),
        false => {
            let room = columns.saturating_sub("step ".len() + first.len());
            format!("step {first}{last:>room$}")
        }
    };
    let space = " ".repeat(margin);
    let mut text = paint(&format!("{space} └{line}\n{space}  {ends}"), Colour::Faint, colours) + "\n";
    if is_broken {
        text.push_str(&format!("{space}  {BROKEN} no finite number\n"));
    }
    text
}

impl Scale {
    fn of(points: &[Point]) -> Option<Self> {
        // Limits the values, so that no difference of two is infinite.
        let most = f64::MAX / 4.0;
        let finite = || points.iter().map(|point| point.value).filter(|value| value.is_finite());
        let low = finite().reduce(f64::min)?.clamp(-most, most);
        let high = finite().reduce(f64::max)?.clamp(-most, most);
        let is_log = low > 0.0 && high / low > WIDE;
        let (low, high) = if is_log { (low.log10(), high.log10()) } else { (low, high) };
        let room = if high > low { 0.0 } else { (low.abs() * 0.1).max(f64::MIN_POSITIVE) };
        let room = if low == 0.0 && high == 0.0 { 1.0 } else { room };
        Some(Self { low: low - room, high: high + room, is_log })
    }

    /// Returns the text for a place on the scale.
    fn label(&self, place: f64) -> String {
        number(if self.is_log { 10f64.powf(place) } else { place })
    }

    /// Returns the row of dots for a value, counted from the top.
    fn row(&self, value: f64) -> usize {
        let value = if self.is_log { value.log10() } else { value };
        let rows = LINES * DOWN - 1;
        rows - part((value - self.low) / (self.high - self.low), rows)
    }
}

/// Returns a part of `whole`, rounded to a number from 0 to `whole`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a place on a screen"
)]
fn part(part: f64, whole: usize) -> usize {
    ((part.clamp(0.0, 1.0) * whole as f64).round() as usize).min(whole)
}

/// Returns the place of a step among `count` places.
#[expect(clippy::cast_precision_loss, reason = "a place on a screen")]
fn place(step: u64, (first, last): (u64, u64), count: usize) -> usize {
    let length = last.saturating_sub(first).max(1);
    part(step.saturating_sub(first) as f64 / length as f64, count - 1)
}

/// Draws the curve. It has gaps where values are not finite.
fn curve(points: &[Point], columns: usize, steps: (u64, u64), scale: &Scale) -> Vec<Vec<char>> {
    let mut dots = vec![vec![0_u32; columns]; LINES];
    let mut dot = |x: usize, y: usize| dots[y / DOWN][x / ACROSS] |= BITS[y % DOWN][x % ACROSS];
    let mut before: Option<(usize, usize)> = None;
    for point in points {
        let at = point.value.is_finite().then(|| (place(point.step, steps, columns * ACROSS), scale.row(point.value)));
        if let Some((x, y)) = at {
            let (from_x, from_y) = before.unwrap_or((x, y));
            // One dot for each row or column between the two points, whichever are more.
            let count = x.abs_diff(from_x).max(y.abs_diff(from_y)).max(1);
            for n in 0..=count {
                dot(between(from_x, x, n, count), between(from_y, y, n, count));
            }
        }
        before = at;
    }
    let char_of = |bits: u32| if bits == 0 { ' ' } else { char::from_u32(0x2800 + bits).unwrap_or(' ') };
    dots.into_iter().map(|line| line.into_iter().map(char_of).collect()).collect()
}

/// Returns the place at `n` of `count` on the way from one place to another.
fn between(from: usize, to: usize, n: usize, count: usize) -> usize {
    (from * (count - n) + to * n + count / 2) / count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(values: &[f64], width: usize) -> String {
        let points: Vec<Point> = (1..).zip(values).map(|(step, value)| Point { step, value: *value }).collect();
        plot(&points, width, Colour::Green, false)
    }

    #[test]
    fn a_falling_curve_with_a_gap() {
        let value = |n: u32| if (30..34).contains(&n) { f64::NAN } else { 2.0 * (-f64::from(n) / 25.0).exp() + 0.25 };
        insta::assert_snapshot!(drawn(&(0..100).map(value).collect::<Vec<_>>(), 60));
    }

    #[test]
    fn any_values_fit_any_width() {
        let extremes = [f64::MAX, f64::MIN, 0.0, f64::NAN, f64::INFINITY, 1e-300];
        for values in [&extremes[..], &[0.0], &[0.0, 0.0], &[f64::MAX], &[1e-320, 1e-320], &[1e-9, 1.0, 1e9]] {
            for width in [40, 80, 200] {
                let text = drawn(values, width);
                assert!(text.lines().all(|line| line.chars().count() <= width), "{values:?} in {width}:\n{text}");
                assert_eq!(text.lines().count() > LINES, values.iter().any(|value| value.is_finite()));
            }
        }
        assert_eq!(drawn(&[f64::NAN], 80), "");
    }
}
