//! The chart of the losses.

use ratatui::layout::Constraint;
use ratatui::style::{Style, Stylize as _};
use ratatui::symbols::Marker;
use ratatui::text::Line;
use ratatui::widgets::{Axis, Block, Chart, Dataset, GraphType};

use crate::lora::series::{Point, Series, counted, number};

/// Ratio of the largest to the smallest value above which the axis is logarithmic.
const WIDE: f64 = 100.0;

/// The points of a chart, in pieces between which a loss is not a finite number. Both axes go from 0 to 1: the widget
/// does not come to an end with the numbers that a hostile log can have.
pub(super) struct Curve {
    pieces: Vec<Vec<(f64, f64)>>,
    labels: [String; 2],
    is_log: bool,
}

impl Curve {
    /// Returns the curve of a series, or `None` if it has no finite value.
    pub(super) fn of(series: &Series) -> Option<Self> {
        let (first, last) = (series.points.first()?.step, series.points.last()?.step);
        // Limits the values, so that no difference of two is infinite.
        let most = f64::MAX / 4.0;
        let finite = || series.points.iter().map(|point| point.value).filter(|value| value.is_finite());
        let low = finite().reduce(f64::min)?.clamp(-most, most);
        let high = finite().reduce(f64::max)?.clamp(-most, most);
        let is_log = low > 0.0 && high / low > WIDE;
        let scaled = |value: f64| if is_log { value.log10() } else { value.clamp(-most, most) };
        let (lowest, highest) = (scaled(low), scaled(high));
        let place = |point: &Point| {
            let x = part(as_float(point.step - first.min(point.step)), as_float(last.saturating_sub(first)));
            (x, part(scaled(point.value) - lowest, highest - lowest))
        };
        let pieces = series.points.split(|point| !point.value.is_finite()).filter(|piece| !piece.is_empty());
        Some(Self {
            pieces: pieces.map(|piece| piece.iter().map(place).collect()).collect(),
            labels: [low, high].map(number),
            is_log,
        })
    }

    pub(super) fn widget<'a>(&'a self, series: &Series, title: String, style: Style) -> Chart<'a> {
        let dataset = |piece: &'a Vec<(f64, f64)>| {
            let kind = if piece.len() == 1 { GraphType::Scatter } else { GraphType::Line };
            Dataset::default().marker(Marker::Braille).graph_type(kind).style(style).data(piece)
        };
        let faint = Style::new().dim();
        let (first, last) = (series.points.first(), series.points.last());
        let step = |point: Option<&Point>| point.map(|point| counted(point.step)).unwrap_or_default();
        let x = Axis::default().style(faint).bounds([0.0, 1.0]).labels([format!("step {}", step(first)), step(last)]);
        let y = Axis::default().style(faint).bounds([0.0, 1.0]).labels(self.labels.clone());
        let title = if self.is_log { format!("{title}, logarithmic") } else { title };
        Chart::new(self.pieces.iter().map(dataset).collect())
            .block(Block::bordered().title(Line::from(format!(" {title} ")).bold()))
            .x_axis(x)
            .y_axis(y)
            .hidden_legend_constraints((Constraint::Length(0), Constraint::Length(0)))
    }
}

/// Returns a part of a length, from 0 to 1; the middle if the length is nothing.
fn part(part: f64, length: f64) -> f64 {
    if length > 0.0 { (part / length).clamp(0.0, 1.0) } else { 0.5 }
}

#[expect(clippy::cast_precision_loss, reason = "a place on a screen")]
fn as_float(step: u64) -> f64 {
    step as f64
}
