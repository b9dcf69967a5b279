//! A series in words, for pages and terminals.

use std::fmt::Write as _;

use super::{Measure, Point, Series, Source, Trend};

impl Source {
    /// Returns the name for display.
    pub fn name(self) -> &'static str {
        match self {
            Self::SdScripts => "progress bar of sd-scripts",
            Self::Diffusers => "progress bar of diffusers",
            Self::HfTrainer => "log of the HF Trainer",
            Self::AiToolkit => "progress bar of ai-toolkit",
            Self::OneTrainer => "progress bar of OneTrainer",
            Self::TrainerLog => "trainer_log.jsonl",
            Self::TrainerState => "trainer_state.json",
            Self::Metrics => "table of metrics",
            Self::TensorBoard => "TensorBoard events",
            Self::WeightsAndBiases => "log of Weights & Biases",
            Self::Mlflow => "metrics of MLflow",
            Self::Plain => "lines of the log",
        }
    }
}

impl Trend {
    /// Returns the trend in a word or two.
    pub fn name(self) -> &'static str {
        match self {
            Self::Falling => "falling",
            Self::Flat => "not falling",
            Self::Diverged => "diverged",
            Self::NotANumber => "not a number",
            Self::Zero => "zero",
            Self::TooShort => "too short to tell",
        }
    }
}

/// Describes a series in a sentence or two.
pub fn sentence(series: &Series, trend: Trend) -> String {
    let finite = |point: &&Point| point.value.is_finite();
    let first = series.points.iter().find(finite);
    let last = series.points.iter().rfind(finite);
    let broken = series.first_not_finite();
    // The step from which no later value is finite.
    let broken_for_good = last.map_or(broken, |last| series.points.iter().copied().find(|p| p.step > last.step));
    let (Some(first), Some(last)) = (first, last) else {
        return "No loss was a finite number.".to_owned();
    };
    let mut text = match (trend, broken_for_good) {
        (_, Some(point)) => {
            let what = if point.value.is_nan() { "not a number" } else { "infinite" };
            format!("The loss is {what} from step {} on.", counted(point.step))
        }
        (Trend::TooShort, None) if series.points.len() == 1 => "A single value has no trend.".to_owned(),
        (Trend::TooShort, None) => format!("{} values are too few for a trend.", series.points.len()),
        (Trend::Diverged, None) => format!("The loss ends far higher than it was: at {}.", number(last.value)),
        (Trend::Flat, None) => format!("The loss began at {} and ends at {}.", number(first.value), number(last.value)),
        (Trend::Zero, None) => "Every loss is exactly 0: the training learns nothing from its data.".to_owned(),
        (Trend::NotANumber, None) if broken.is_none() => hidden(series),
        (Trend::Falling | Trend::NotANumber, None) => {
            format!("From {} at the first step to {} at the last.", number(first.value), number(last.value))
        }
    };
    if let Some(point) = broken.filter(|point| broken_for_good.is_none_or(|for_good| point.step < for_good.step)) {
        let _ = write!(text, " Some values before were not finite, first at step {}.", counted(point.step));
    }
    text
}

/// Describes a loss that is not a number, for which the trainer prints one.
fn hidden(series: &Series) -> String {
    let mut norms = series.other(Measure::GradientNorm).iter().filter(|norm| !norm.value.is_finite());
    match (series.zero_for_nan_since, norms.next()) {
        (Some(step), _) => format!(
            "The loss is not a number from step {} on: the trainer prints 0 for it, next to a value that is NaN.",
            counted(step)
        ),
        (None, Some(norm)) => format!(
            "{} of {} gradient norms are not finite, first at step {}: such steps train nothing.",
            counted(norms.count() as u64 + 1),
            counted(series.other(Measure::GradientNorm).len() as u64),
            counted(norm.step)
        ),
        (None, None) => "The loss is not a number.".to_owned(),
    }
}

/// Formats a value with four significant digits.
pub fn number(value: f64) -> String {
    let size = value.abs();
    match value {
        value if value.is_nan() => "not a number".to_owned(),
        value if value.is_infinite() => if value > 0.0 { "infinity" } else { "−infinity" }.to_owned(),
        0.0 => "0".to_owned(),
        _ if !(1e-4..1e6).contains(&size) => {
            let text = format!("{value:.3e}");
            let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
            let digits = if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits };
            format!("{digits}e{power}").replace('-', "−")
        }
        _ => {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 7")]
            let decimals = (3.0 - size.log10().floor()).clamp(0.0, 7.0) as usize;
            let text = format!("{value:.decimals$}");
            let text = if decimals > 0 { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
            text.replace('-', "−")
        }
    }
}

/// Formats a count with commas between thousands.
pub fn counted(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
