//! The trend of a loss, in one word.

use serde::{Deserialize, Serialize};

use super::{Measure, Series};

/// With fewer finite values there is no trend.
const LEAST_VALUES: usize = 8;
/// The divisor of the series' length for the parts at its begin and its end that are compared.
const PART: usize = 5;
/// A change below this fraction of the first loss does not count, however even the loss is.
const LEAST_CHANGE: f64 = 0.02;
/// The loss has diverged when it ends this many times above its begin, or above its lowest stretch.
const ABOVE_BEGIN: f64 = 1.5;
const ABOVE_LOWEST: f64 = 3.0;

/// The trend of a training's loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Trend {
    /// The end is lower than the begin, by more than the noise.
    Falling,
    /// The end is about as high as the begin, or a little higher.
    Flat,
    /// The end is far above the begin or the lowest stretch.
    Diverged,
    /// The last value, or more than a tenth of all values, is NaN or infinite, or the gradient norms tell so of a loss
    /// for which the trainer prints a number.
    NotANumber,
    /// Every loss is exactly 0.
    Zero,
    /// There are too few values for a trend.
    TooShort,
}

/// Determines the trend of a series. The medians of the first and the last fifth are compared, so that single outliers
/// do not count. They must differ by 2 % of the first and by twice the error expected from the noise between steps.
pub fn trend(series: &Series) -> Trend {
    let values: Vec<f64> = series.points.iter().map(|point| point.value).collect();
    let finite: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    let ends_broken = values.last().is_some_and(|value| !value.is_finite());
    if ends_broken || (values.len() - finite.len()) * 10 > values.len() || is_hidden(series) {
        return Trend::NotANumber;
    }
    if series.is_zero() {
        return Trend::Zero;
    }
    if finite.len() < LEAST_VALUES {
        return Trend::TooShort;
    }
    let part = (finite.len() / PART).max(2);
    let (begin, end) = (middle(&finite[..part]), middle(&finite[finite.len() - part..]));
    let lowest = finite.chunks(part).filter(|chunk| chunk.len() == part).map(middle).fold(f64::INFINITY, f64::min);
    #[expect(clippy::cast_precision_loss, reason = "a count of points")]
    let error = 1.25 * noise(&finite) * (2.0 / part as f64).sqrt();
    let least = (2.0 * error).max(LEAST_CHANGE * begin.abs());
    let rose = |from: f64, times: f64| end - from > least.max((times - 1.0) * from.abs());
    if rose(begin, ABOVE_BEGIN) || rose(lowest, ABOVE_LOWEST) {
        Trend::Diverged
    } else if begin - end > least {
        Trend::Falling
    } else {
        Trend::Flat
    }
}

/// Returns true if the log shows that the loss is not a number, although it prints one. A few gradient norms that are
/// not finite are normal: with fp16, the scaler of the loss skips such steps.
fn is_hidden(series: &Series) -> bool {
    let norms = series.other(Measure::GradientNorm);
    let broken = norms.iter().filter(|norm| !norm.value.is_finite()).count();
    let ends_broken = norms.last().is_some_and(|last| !last.value.is_finite());
    series.zero_for_nan_since.is_some() || broken * 2 > norms.len() || (ends_broken && broken * 10 > norms.len())
}

/// Returns the median of some finite values; for an even number of values the mean of the two middle ones.
fn middle(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match (sorted.get(half), half.checked_sub(1).and_then(|below| sorted.get(below))) {
        (Some(upper), Some(lower)) if sorted.len().is_multiple_of(2) => lower + (upper - lower) / 2.0,
        (Some(middle), _) => *middle,
        (None, _) => 0.0,
    }
}

/// Estimates the standard deviation of a single value from the differences of neighbours, which a trend does not
/// disturb.
fn noise(values: &[f64]) -> f64 {
    let steps: Vec<f64> = values.windows(2).map(|pair| (pair[1] - pair[0]).abs()).filter(|d| d.is_finite()).collect();
    1.4826 * middle(&steps) / std::f64::consts::SQRT_2
}
