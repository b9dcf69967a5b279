//! Gates: bounds that a whole training has to keep, besides the conditions that every training has to meet.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::series::{Point, Series, Trend, sentence, trend};
use super::verdict::{Condition, Saved, Weights, condition};

/// The gates of a training, `lora.train.gate`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Gates {
    pub loss: Option<LossGate>,
    /// The rank that all weights must have.
    pub rank: Option<u64>,
    /// The size of the largest file of weights, in bytes.
    pub size: Bounds,
    /// The median norm of the modules' changes.
    pub norm: Bounds,
    /// Bounds on numbers that the job writes into `metrics.json`, by their names.
    pub metrics: BTreeMap<String, Bounds>,
    /// Maximum duration of the job, in seconds.
    pub duration: Option<u64>,
    /// Minimum number of sample images.
    pub samples: Option<u64>,
}

/// Bounds on the loss at the end.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LossGate {
    /// Bounds on the mean of the last losses.
    pub mean: Bounds,
    /// Number of steps before the end whose losses count.
    pub window: u64,
    /// True when the loss must have fallen.
    pub falling: bool,
}

/// The lowest and the highest value that a number may have.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Bounds {
    pub min: Option<f64>,
    pub max: Option<f64>,
}

impl Bounds {
    /// Returns true if there is no bound.
    pub fn is_open(self) -> bool {
        self.min.is_none() && self.max.is_none()
    }

    fn hold(self, value: f64) -> bool {
        // No bound holds for NaN.
        self.min.is_none_or(|min| value >= min) && self.max.is_none_or(|max| value <= max) && !value.is_nan()
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.min, self.max) {
            (Some(min), Some(max)) => write!(f, "between {min} and {max}"),
            (Some(min), None) => write!(f, "at least {min}"),
            (None, Some(max)) => write!(f, "at most {max}"),
            (None, None) => f.write_str("any"),
        }
    }
}

/// The facts about a training that its gates look at.
#[derive(Debug)]
pub struct Facts<'a> {
    pub series: &'a Series,
    /// The files of weights that the trainer saved.
    pub saved: &'a [Saved],
    /// The numbers of `metrics.json`, by their names.
    pub metrics: &'a BTreeMap<String, f64>,
    /// Number of images in the output folder.
    pub samples: u64,
    /// Duration of the job.
    pub duration: Duration,
}

impl Gates {
    /// Returns the conditions that the gates set. A number that is missing keeps no bound.
    pub fn check(&self, facts: &Facts<'_>) -> Vec<Condition> {
        let mut conditions = Vec::new();
        if let Some(gate) = &self.loss {
            conditions.extend(gate.check(facts.series));
        }
        conditions.extend(self.weights(facts.saved));
        conditions.extend(self.metrics.iter().map(|(name, bounds)| metric(name, *bounds, facts.metrics)));
        if let Some(least) = self.samples {
            let told = format!("{} sample images, at least {least} are wanted", facts.samples);
            conditions.push(condition("gate-samples", facts.samples >= least, told));
        }
        if let Some(most) = self.duration {
            let words = |duration: u64| humantime::format_duration(Duration::from_secs(duration));
            let took = facts.duration.as_secs();
            let told = format!("{}, at most {}", words(took), words(most));
            conditions.push(condition("gate-duration", facts.duration <= Duration::from_secs(most), told));
        }
        conditions
    }

    fn weights(&self, saved: &[Saved]) -> Vec<Condition> {
        let read = saved.iter().filter_map(|saved| match &saved.weights {
            Weights::Read(summary) if summary.modules > 0 => Some((saved.path.as_str(), summary.as_ref())),
            _ => None,
        });
        let files: Vec<_> = read.collect();
        let each = |name: &str, bound: String, value: &dyn Fn(&super::weights::Summary) -> (bool, String)| {
            let Some((first, summary)) = files.first() else {
                return condition(name, false, format!("no weights were saved, {bound} is wanted"));
            };
            let values = files.iter().map(|(path, summary)| (*path, value(summary)));
            match values.into_iter().find(|(_, (holds, _))| !holds) {
                Some((path, (_, told))) => condition(name, false, format!("{path}: {told}, {bound} is wanted")),
                None => condition(name, true, format!("{first}: {}, {bound} is wanted", value(summary).1)),
            }
        };
        let mut conditions = Vec::new();
        if let Some(rank) = self.rank {
            conditions.push(each("gate-rank", format!("rank {rank}"), &|summary| {
                let ranks: Vec<String> = summary.ranks.iter().map(u64::to_string).collect();
                let told =
                    if ranks.is_empty() { "no rank".to_owned() } else { format!("rank {}", ranks.join(" and ")) };
                (!summary.ranks.is_empty() && summary.ranks.iter().all(|known| *known == rank), told)
            }));
        }
        if !self.size.is_open() {
            conditions.push(each("gate-size", format!("{} bytes", self.size), &|summary| {
                (self.size.hold(summary.bytes as f64), format!("{} bytes", summary.bytes))
            }));
        }
        if !self.norm.is_open() {
            conditions.push(each("gate-norm", self.norm.to_string(), &|summary| match summary.median_norm {
                Some(norm) => (self.norm.hold(norm), format!("median norm {norm:.4}")),
                None => (false, "no norm".to_owned()),
            }));
        }
        conditions
    }
}

impl LossGate {
    fn check(&self, series: &Series) -> Vec<Condition> {
        let mut conditions = Vec::new();
        if !self.mean.is_open() {
            let mean = last_mean(&series.points, self.window);
            let told = match mean {
                Some(mean) => {
                    format!("the mean of the last {} steps is {mean:.4}, {} is wanted", self.window, self.mean)
                }
                None => format!("no loss was seen, {} is wanted", self.mean),
            };
            conditions.push(condition("gate-loss", mean.is_some_and(|mean| self.mean.hold(mean)), told));
        }
        if self.falling {
            let trend = trend(series);
            conditions.push(condition("gate-loss-falling", trend == Trend::Falling, sentence(series, trend)));
        }
        conditions
    }
}

/// Number of steps before the end whose losses count, unless a gate says another one.
pub const WINDOW: u64 = 50;

/// Returns the mean of the losses of the last steps. Of a long training, the series keeps only some of them.
pub fn last_mean(points: &[Point], window: u64) -> Option<f64> {
    let last = points.last()?.step;
    let counts = |point: &&Point| last.saturating_sub(point.step) < window;
    let values: Vec<f64> = points.iter().rev().take_while(counts).map(|point| point.value).collect();
    Some(values.iter().sum::<f64>() / values.len() as f64)
}

fn metric(name: &str, bounds: Bounds, metrics: &BTreeMap<String, f64>) -> Condition {
    let told = match metrics.get(name) {
        Some(value) => format!("{name} is {value}, {bounds} is wanted"),
        None if metrics.is_empty() => format!("{name} is missing: the output folder has no metrics.json with numbers"),
        None => {
            let known: Vec<&str> = metrics.keys().map(String::as_str).take(10).collect();
            format!("{name} is missing in metrics.json, which has {}", known.join(", "))
        }
    };
    let holds = metrics.get(name).is_some_and(|value| bounds.hold(*value));
    condition("gate-metric", holds, told)
}
