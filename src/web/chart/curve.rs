//! Curves: each value, the running mean of a noisy series, and the gaps where a value is not finite.

use std::fmt::Write as _;

use super::axis::{Axes, short};
use crate::lora::series::{Point, Series};

/// Number of columns to which a long series is reduced, so that a chart is small enough to be sent each second.
const COLUMNS: u64 = 300;
/// Number of values from which the running mean is drawn too.
const LEAST_FOR_COURSE: usize = 30;
/// Share of the series over which a point of the running mean is taken: one part in this many.
const WINDOW: usize = 15;

/// Draws a series of losses: the bands without a finite value, the curve, and its last and lowest points.
pub(super) fn draw(svg: &mut String, series: &Series, axes: &Axes) {
    bands(svg, &series.points, axes);
    let has_course = !series.averaged && series.points.len() >= LEAST_FOR_COURSE;
    if has_course {
        lines(svg, &[("values", &series.points), ("course", &course(&series.points))], axes);
    } else {
        lines(svg, &[("course", &series.points)], axes);
    }
    let mut circle = |class: &str, point: Point| {
        if point.value.is_finite() {
            let (x, y) = (short(axes.x(point.step)), short(axes.y(point.value)));
            let _ = writeln!(svg, "<circle class=\"{class}\" cx=\"{x}%\" cy=\"{y}%\" r=\"4\"/>");
        }
    };
    series.lowest().into_iter().for_each(|lowest| circle("lowest", lowest));
    series.last().into_iter().for_each(|last| circle("last", last));
}

/// Draws a line at each step at which the training went on from a checkpoint, with a word at the first.
pub(super) fn marks(svg: &mut String, resumed: &[u64], axes: &Axes) {
    for (place, step) in resumed.iter().enumerate() {
        let x = short(axes.x(*step));
        let _ = writeln!(svg, "<line class=\"resumed\" x1=\"{x}%\" x2=\"{x}%\" y1=\"0\" y2=\"100%\"/>");
        if place == 0 {
            let _ = writeln!(svg, "<text class=\"x\" x=\"{x}%\" y=\"0\" dy=\"-4\">resumed</text>");
        }
    }
}

/// Draws lines through points. Each line has a class.
pub(super) fn lines(svg: &mut String, lines: &[(&str, &[Point])], axes: &Axes) {
    // Only this part is stretched; `non-scaling-stroke` keeps the strokes as they are.
    svg.push_str("<svg viewBox=\"0 0 1000 1000\" preserveAspectRatio=\"none\" overflow=\"visible\">\n");
    for (class, points) in lines {
        let path = path(&gathered(points, axes), axes);
        // Writing to a String cannot fail.
        let _ = writeln!(svg, "<path class=\"{class}\" vector-effect=\"non-scaling-stroke\" d=\"{path}\"/>");
    }
    svg.push_str("</svg>\n");
}

/// Draws bands over the steps without a finite value, each with a cross at its begin.
fn bands(svg: &mut String, points: &[Point], axes: &Axes) {
    let mut after = None;
    for run in points.chunk_by(|a, b| a.value.is_finite() == b.value.is_finite()) {
        let (first, last) = (run[0], run[run.len() - 1]);
        if !first.value.is_finite() {
            band(svg, axes.x(first.step), axes.x(last.step), &mut after);
        }
    }
}

/// Draws a band unless it would overlap the previous one: a hostile log could ask for thousands.
fn band(svg: &mut String, from: f64, to: f64, after: &mut Option<f64>) {
    if after.is_some_and(|after| to < after + 0.5) {
        return;
    }
    *after = Some(to);
    let (x, width) = (short(from), short(to - from));
    let _ = writeln!(
        svg,
        "<rect class=\"broken\" x=\"{x}%\" y=\"0\" width=\"{width}%\" height=\"100%\"/>\
         <line class=\"broken\" x1=\"{x}%\" x2=\"{x}%\" y1=\"0\" y2=\"100%\"/>\
         <svg x=\"{x}%\" y=\"0\" overflow=\"visible\"><path class=\"cross\" d=\"M-4-4L4 4M4-4L-4 4\"/></svg>"
    );
}

/// Returns the points that can be told apart on a screen: the first, least, greatest and last of each column.
fn gathered(points: &[Point], axes: &Axes) -> Vec<Point> {
    if points.len() as u64 <= 4 * COLUMNS {
        return points.to_vec();
    }
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a column"
    )]
    let column = |point: &Point| (axes.x(point.step) / 100.0 * COLUMNS as f64) as u64;
    let together = |a: &Point, b: &Point| column(a) == column(b) && a.value.is_finite() == b.value.is_finite();
    let mut kept = Vec::new();
    for points in points.chunk_by(together) {
        let order = |(_, a): &(usize, &Point), (_, b): &(usize, &Point)| a.value.total_cmp(&b.value);
        let all = || points.iter().enumerate();
        let place = |found: Option<(usize, &Point)>| found.map_or(0, |(place, _)| place);
        let mut places = [0, place(all().min_by(order)), place(all().max_by(order)), points.len() - 1].to_vec();
        places.sort_unstable();
        places.dedup();
        kept.extend(places.into_iter().map(|place| points[place]));
    }
    kept
}

/// Returns the means of the values around each point. Values that are not finite stay as they are.
fn course(points: &[Point]) -> Vec<Point> {
    let mut course = Vec::with_capacity(points.len());
    for run in points.chunk_by(|a, b| a.value.is_finite() == b.value.is_finite()) {
        let half = (points.len() / WINDOW / 2).max(1);
        let mut sums = vec![0.0];
        run.iter().for_each(|point| sums.push(sums.last().copied().unwrap_or(0.0) + point.value));
        for (place, point) in run.iter().enumerate() {
            let (from, to) = (place.saturating_sub(half), (place + half + 1).min(run.len()));
            #[expect(clippy::cast_precision_loss, reason = "a count of points")]
            let mean = (sums[to] - sums[from]) / (to - from) as f64;
            course.push(Point { step: point.step, value: mean });
        }
    }
    course
}

/// Returns the line through the points, in thousandths of the plot, with a gap where a value is not finite.
fn path(points: &[Point], axes: &Axes) -> String {
    let mut path = String::new();
    for run in points.chunk_by(|a, b| a.value.is_finite() == b.value.is_finite()) {
        if !run[0].value.is_finite() {
            continue;
        }
        for (place, point) in run.iter().enumerate() {
            let command = if place == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{command}{:.0} {:.0}", axes.x(point.step) * 10.0, axes.y(point.value) * 10.0);
        }
        if run.len() == 1 {
            // A line of length zero, which round line caps turn into a dot.
            path.push_str("h0");
        }
    }
    path
}
