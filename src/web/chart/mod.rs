//! Charts of a job over time: the loss of its training, and the resources that it uses. Everything that they show is
//! also there in words and numbers.
//!
//! The plot is drawn in percent of its box, and only the curve is stretched, so that texts, marks and strokes keep
//! their size in a window of any width.

mod axis;
mod curve;
pub(super) mod image;
mod resources;

pub(super) use resources::{processor_time, resources};

use std::fmt::{self, Write as _};

use askama::filters::HtmlSafe;

use crate::lora::series::{Point, Series, Source, Trend, counted, number, sentence, trend};
use axis::{Axes, Kind};

/// Rows of a table: enough to read the course of the series.
const ROWS: usize = 12;

const LOSS: Kind = Kind { value: "loss", step: "step", unit: 1, from_zero: false };

/// The chart of a series. Its `Display` is HTML.
#[derive(Debug)]
pub(super) struct Chart(String);

impl fmt::Display for Chart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// HTML-safe because it is made of numbers and constants only.
impl HtmlSafe for Chart {}

/// Draws a series, with the steps at which its training went on from a checkpoint. Returns `None` if it has no points.
pub(super) fn chart(series: &Series, resumed: &[u64]) -> Option<Chart> {
    let last = series.last()?;
    let trend = trend(series);
    let (word, tone) = (trend.name(), tone(trend));
    let says = sentence(series, trend);
    let mut html = format!(
        "<section class=\"card loss\" aria-labelledby=\"loss-title\">\n<div class=\"head\"><h2 id=\"loss-title\">Loss</h2>\
         <span class=\"mark {tone}\">{word}</span><p class=\"dim\">{says}</p></div>\n{}\n<dl class=\"facts\">\n",
        plot(series, resumed, &says)
    );
    let at =
        |point: Point| format!("{} <span class=\"dim\">at step {}</span>", number(point.value), counted(point.step));
    let mut fact = |name: &str, value: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(html, "<div><dt>{name}</dt><dd>{value}</dd></div>");
    };
    let mark = if last.value.is_finite() { key("last") } else { String::new() };
    fact(&format!("{mark}{}", if series.averaged { "Last average" } else { "Last" }), &at(last));
    if let Some(lowest) = series.lowest() {
        fact(&format!("{}Lowest", key("lowest")), &at(lowest));
    }
    let seen = counted(series.steps_seen.max(last.step));
    fact("Steps", &series.steps_wanted.map_or(seen.clone(), |wanted| format!("{seen} of {}", counted(wanted))));
    if !resumed.is_empty() {
        let steps: Vec<String> = resumed.iter().map(|step| counted(*step)).collect();
        fact("Resumed", &format!("<span class=\"dim\">at step</span> {}", steps.join(", ")));
    }
    fact("Read from", series.source.unwrap_or(Source::Plain).name());
    html.push_str("</dl>\n");
    html.push_str(&table(series));
    html.push_str("</section>");
    Some(Chart(html))
}

/// Returns the mark of a point in the plot, for a legend.
fn key(class: &str) -> String {
    format!(
        "<svg class=\"key\" viewBox=\"0 0 12 12\" aria-hidden=\"true\"><circle class=\"{class}\" cx=\"6\" cy=\"6\" r=\"4\"/></svg>"
    )
}

/// Returns the class that gives a trend its colour.
fn tone(trend: Trend) -> &'static str {
    match trend {
        Trend::Falling => "passed",
        Trend::Flat => "errored",
        Trend::Diverged | Trend::NotANumber | Trend::Zero => "failed",
        Trend::TooShort => "queued",
    }
}

/// Draws the plot. The text next to it describes it in words, so its name is enough for a screen reader.
fn plot(series: &Series, resumed: &[u64], says: &str) -> String {
    let axes = Axes::of(&series.points, LOSS);
    framed(&format!("Chart of the loss by step. {says}"), &axes, |svg| {
        curve::marks(svg, resumed, &axes);
        curve::draw(svg, series, &axes);
    })
}

/// Returns a plot with its axes and the content that `draw` adds.
fn framed(name: &str, axes: &Axes, draw: impl FnOnce(&mut String)) -> String {
    let mut svg = format!("<div class=\"chart\"><svg role=\"img\" aria-label=\"{name}\">\n");
    axes.draw(&mut svg);
    draw(&mut svg);
    svg.push_str("</svg></div>");
    svg
}

/// Picks some of `count` indices for a table: the first, the last, and others at even distances.
fn some(count: usize) -> Vec<usize> {
    let rows = ROWS.min(count);
    (0..rows).map(|row| row * (count - 1) / (rows - 1).max(1)).collect()
}

/// Lists some of the points as a table, for readers who cannot see the chart or want numbers.
fn table(series: &Series) -> String {
    let points = &series.points;
    let mut html =
        "<details class=\"numbers\"><summary>Numbers</summary>\n<table><thead><tr><th scope=\"col\">Step</th>\
                    <th scope=\"col\">Loss</th></tr></thead><tbody>\n"
            .to_owned();
    for place in some(points.len()) {
        let Point { step, value } = points[place];
        let _ = writeln!(html, "<tr><td>{}</td><td>{}</td></tr>", counted(step), number(value));
    }
    html.push_str("</tbody></table></details>\n");
    html
}

#[cfg(test)]
mod tests;
