//! The part on trainings: their losses with charts, their weights, and both next to those of the base branch.

use bytesize::ByteSize;
use serde::Deserialize as _;

use super::text::Text;
use crate::attempt::Examined;
use crate::lora::series::{Point, Series, number, trend};
use crate::lora::verdict::{Saved, Weights};
use crate::lora::weights::Summary;
use crate::outbox::markdown::plain;
use crate::outbox::{ChartForm, ChartLinks};
use crate::store::checks::{Base, CheckedBuild, Training};

/// Number of charts. Each is a request of the reader.
const MAX_CHARTS: usize = 4;

/// Addresses of this server.
pub(in crate::outbox) struct Links<'a> {
    pub(in crate::outbox) charts: &'a ChartLinks,
    /// Begin of each address, without a slash at its end.
    pub(in crate::outbox) server: &'a str,
}

pub(super) fn add(text: &mut Text, build: &CheckedBuild, links: &Links<'_>) {
    let losses: Vec<Vec<String>> = build.trainings.iter().filter_map(loss_row).collect();
    text.table("Losses", &["Job", "First", "Last", "Lowest", "Trend"], &losses, losses.len());
    let with_chart = build.trainings.iter().filter(|training| !training.points.is_empty());
    for training in with_chart.take(MAX_CHARTS) {
        if let Some(ended) = training.finished_at {
            let path = links.charts.path(training.attempt_id(), ended, ChartForm::Svg);
            text.block(&format!("![Loss of job {}]({}{path})\n\n", training.number, links.server));
        }
    }
    let weights: Vec<Vec<String>> = build.trainings.iter().flat_map(weights_rows).collect();
    text.table("Weights", &["Job", "File", "What it is", "Size"], &weights, weights.len());
    if let Some(base) = &build.base {
        let rows: Vec<Vec<String>> = build.trainings.iter().filter_map(|it| changes_row(it, base)).collect();
        let branch = plain(&base.branch);
        let (loss, saved) = (format!("Loss on {branch}"), format!("Weights on {branch}"));
        let title = format!("Compared with build &#35;{} of {branch}", base.number);
        text.table(&title, &["Job", &loss, "Loss now", &saved, "Weights now"], &rows, rows.len());
    }
}

fn series(training: &Training) -> Series {
    let steps = training.steps.iter().map(|step| u64::try_from(*step).unwrap_or(0));
    let points = steps.zip(&training.points).map(|(step, value)| Point { step, value: *value }).collect();
    Series { points, ..Series::default() }
}

fn value(point: Option<Point>) -> String {
    point.map_or_else(String::new, |point| plain(&number(point.value)))
}

fn loss_row(training: &Training) -> Option<Vec<String>> {
    let series = series(training);
    let first = series.points.first().copied()?;
    let trend = trend(&series).name().to_owned();
    Some(vec![title(training), value(Some(first)), value(series.last()), value(series.lowest()), trend])
}

fn title(training: &Training) -> String {
    let name = training.name.as_deref().map(|name| format!(" {}", plain(name))).unwrap_or_default();
    format!("{}{name}", training.number)
}

/// Lists the files of weights that a training has saved and that can be read.
fn saved(training: &Training) -> Vec<(String, Box<Summary>)> {
    let examined = training.report.as_ref().and_then(|report| Examined::deserialize(report).ok());
    let read = |saved: Saved| match saved.weights {
        Weights::Read(read) => Some((saved.path, read)),
        Weights::Unreadable(_) => None,
    };
    examined.into_iter().flat_map(|examined| examined.saved).filter_map(read).collect()
}

fn what(read: &Summary) -> String {
    plain(&format!("{}, {}", read.in_words(), read.dtypes.join(" and ")))
}

fn weights_rows(training: &Training) -> Vec<Vec<String>> {
    let row = |(path, read): (String, Box<Summary>)| {
        vec![training.number.clone(), plain(&path), what(&read), ByteSize::b(read.bytes).to_string()]
    };
    saved(training).into_iter().map(row).collect()
}

/// Returns a training next to that of the same name on the base branch; `None` if there is none, or no difference.
fn changes_row(training: &Training, base: &Base) -> Option<Vec<String>> {
    let before = base.trainings.iter().find(|it| it.name.is_some() && it.name == training.name)?;
    let facts = |training: &Training| {
        let weights =
            saved(training).into_iter().map(|(_, read)| format!("{}, {}", what(&read), ByteSize::b(read.bytes)));
        (value(series(training).last()), weights.collect::<Vec<_>>().join("; "))
    };
    let (was, is) = (facts(before), facts(training));
    (was != is).then(|| vec![title(training), was.0, is.0, was.1, is.1])
}
