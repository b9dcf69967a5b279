//! Gates: bounds that a whole training has to keep, besides the conditions that every training has to meet.

mod reference;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

use super::series::{Measure, Point, Series, Trend, sentence, trend};
use super::verdict::{Condition, Saved, Weights, condition};
use super::weights::Summary;
pub use reference::{Norms, Reference};

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
    /// The factor by which that norm may differ from the norm of the reference.
    pub norm_factor: Option<f64>,
    /// Bounds on numbers that the job writes into `metrics.json` or into event files of TensorBoard, by their names.
    pub metrics: BTreeMap<String, Bounds>,
    /// Maximum GPU memory of the attempt, in bytes.
    pub vram: Option<u64>,
    /// Maximum duration of the job, in seconds.
    pub duration: Option<u64>,
    /// Minimum number of sample images.
    pub samples: Option<u64>,
    /// Path of the file with the numbers of the reference; `None` for the last passed training of the config on the base
    /// branch.
    pub reference: Option<String>,
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
    /// The part of the reference's mean by which the mean may differ from it, such as 0.1.
    #[serde(default)]
    pub within: Option<f64>,
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
    /// The last values in event files of TensorBoard, by their names.
    pub scalars: &'a BTreeMap<String, f64>,
    /// Number of images in the output folder.
    pub samples: u64,
    /// Duration of the job.
    pub duration: Duration,
    /// Maximum GPU memory of all samples of the attempt, in bytes; `None` if none was taken.
    pub gpu_memory: Option<u64>,
    pub reference: &'a Reference,
}

impl Gates {
    /// Returns the conditions that the gates set. A number that is missing keeps no bound.
    pub fn check(&self, facts: &Facts<'_>) -> Vec<Condition> {
        let mut conditions = Vec::new();
        if let Some(gate) = &self.loss {
            conditions.extend(gate.check(facts.series, facts.reference));
        }
        conditions.extend(self.weights(facts.saved));
        conditions.extend(self.norm_factor.map(|factor| like_reference(factor, facts)));
        conditions.extend(self.metrics.iter().map(|(name, bounds)| metric(name, *bounds, facts)));
        conditions.extend(self.vram.map(|most| vram(most, facts.gpu_memory)));
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

    /// Returns true if a gate compares with another training.
    pub fn need_reference(&self) -> bool {
        self.norm_factor.is_some() || self.loss.is_some_and(|loss| loss.within.is_some())
    }

    /// Returns the number of steps before the end whose losses count.
    pub fn window(&self) -> u64 {
        self.loss.map_or(WINDOW, |loss| loss.window)
    }

    fn weights(&self, saved: &[Saved]) -> Vec<Condition> {
        let files = files(saved);
        let each = |name: &str, bound: String, value: &dyn Fn(&Summary) -> (bool, String)| {
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

/// Returns the files that hold a LoRA, with their paths.
fn files(saved: &[Saved]) -> Vec<(&str, &Summary)> {
    let read = saved.iter().filter_map(|saved| match &saved.weights {
        Weights::Read(summary) if summary.modules > 0 => Some((saved.path.as_str(), summary.as_ref())),
        _ => None,
    });
    read.collect()
}

/// Compares the norms of the weights with those of the reference, for each file that both have.
fn like_reference(factor: f64, facts: &Facts<'_>) -> Condition {
    const NAME: &str = "gate-norm-factor";
    let (place, norms) = match facts.reference {
        Reference::Numbers { place, norms, .. } => (place, norms),
        Reference::Nothing(why) => return condition(NAME, true, format!("not compared: {why}")),
        Reference::Unusable(why) => return condition(NAME, false, why.clone()),
    };
    let files = files(facts.saved);
    if files.is_empty() {
        return condition(NAME, false, format!("no weights were saved, at most {factor} times {place} is wanted"));
    }
    let pairs = files.iter().filter_map(|(path, summary)| Some((*path, summary.median_norm?, norms.of(path)?)));
    let pairs: Vec<_> = pairs.collect();
    let is_like = |norm: f64, other: f64| norm <= other * factor && norm >= other / factor;
    let told = |path: &str, norm: f64, other: f64| {
        let wanted = format!("between {:.4} and {:.4} is wanted", other / factor, other * factor);
        format!("{path}: median norm {norm:.4}, that of {place} is {other:.4}, {wanted}")
    };
    match (pairs.iter().find(|(_, norm, other)| !is_like(*norm, *other)), pairs.first()) {
        (Some((path, norm, other)), _) => condition(NAME, false, told(path, *norm, *other)),
        (None, Some((path, norm, other))) => condition(NAME, true, told(path, *norm, *other)),
        (None, None) => {
            let names: Vec<&str> = files.iter().map(|(path, _)| *path).take(MAX_NAMES).collect();
            condition(NAME, false, format!("{place} has no norm for {}", names.join(", ")))
        }
    }
}

fn vram(most: u64, seen: Option<u64>) -> Condition {
    let told = match seen {
        Some(seen) => format!("{} of GPU memory, at most {} is wanted", ByteSize::b(seen), ByteSize::b(most)),
        None => format!(
            "the GPU memory of this attempt was not seen, at most {} is wanted: the job has no GPU, or nvidia-smi does \
             not tell",
            ByteSize::b(most)
        ),
    };
    condition("gate-vram", seen.is_some_and(|seen| seen <= most), told)
}

impl LossGate {
    fn check(&self, series: &Series, reference: &Reference) -> Vec<Condition> {
        let mut conditions = Vec::new();
        let mean = last_mean(&series.points, self.window);
        if !self.mean.is_open() {
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
        conditions.extend(self.within.map(|part| self.near(part, mean, reference)));
        conditions
    }

    /// Compares the mean of the last losses with that of the reference.
    fn near(&self, part: f64, mean: Option<f64>, reference: &Reference) -> Condition {
        const NAME: &str = "gate-loss-within";
        let (place, other) = match reference {
            Reference::Numbers { place, loss: Some(loss), .. } => (place, *loss),
            Reference::Numbers { place, loss: None, .. } => {
                return condition(NAME, false, format!("{place} has no loss to compare with"));
            }
            Reference::Nothing(why) => return condition(NAME, true, format!("not compared: {why}")),
            Reference::Unusable(why) => return condition(NAME, false, why.clone()),
        };
        let wanted = format!("that of {place} is {other:.4}, and {}% of difference are allowed", part * 100.0);
        let Some(mean) = mean else { return condition(NAME, false, format!("no loss was seen, {wanted}")) };
        let difference = (mean - other) / other.abs();
        let told =
            format!("the mean of the last {} steps is {mean:.4} ({:+.1}%), {wanted}", self.window, difference * 100.0);
        condition(NAME, difference.abs() <= part, told)
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

/// Maximum number of names that a message lists.
const MAX_NAMES: usize = 10;

/// Checks a number by its name: one of `metrics.json`, of an event file of TensorBoard, or of the log.
fn metric(name: &str, bounds: Bounds, facts: &Facts<'_>) -> Condition {
    let value = facts.metrics.get(name).or_else(|| facts.scalars.get(name)).copied();
    let value = value.or_else(|| of_log(facts.series).find(|(known, _)| *known == name).map(|(_, value)| value));
    let told = match value {
        Some(value) => format!("{name} is {value}, {bounds} is wanted"),
        None => format!("{name} is missing: {}", names(facts)),
    };
    condition("gate-metric", value.is_some_and(|value| bounds.hold(value)), told)
}

/// Returns the last values that the log shows beside the loss, by their names.
fn of_log(series: &Series) -> impl Iterator<Item = (&'static str, f64)> {
    let name = |measure| match measure {
        Measure::EvalLoss => "eval_loss",
        Measure::LearningRate => "learning_rate",
        Measure::GradientNorm => "grad_norm",
    };
    Measure::ALL.into_iter().filter_map(move |measure| Some((name(measure), series.other(measure).last()?.value)))
}

/// Says which numbers there are.
fn names(facts: &Facts<'_>) -> String {
    let list = |place: &str, names: Vec<&str>| match names.is_empty() {
        true => None,
        false => Some(format!("{place} has {}", names.join(", "))),
    };
    let first = |map: &BTreeMap<String, f64>| -> Vec<String> { map.keys().take(MAX_NAMES).cloned().collect() };
    let (own, scalars) = (first(facts.metrics), first(facts.scalars));
    let all = [
        list("metrics.json", own.iter().map(String::as_str).collect())
            .or_else(|| Some("the output folder has no metrics.json with numbers".to_owned())),
        list("TensorBoard", scalars.iter().map(String::as_str).collect()),
        list("the log", of_log(facts.series).map(|(name, _)| name).collect()),
    ];
    all.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests;
