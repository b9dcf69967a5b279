//! The values other than the training loss that trainers report, and their names in logs and files.

use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::bars::{number_at, pattern};
use super::grow::Facts;

/// A value that a training reports beside its loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// The loss of an evaluation.
    EvalLoss,
    LearningRate,
    /// The norm of the gradients, before they are clipped.
    GradientNorm,
}

impl Measure {
    pub const ALL: [Self; 3] = [Self::EvalLoss, Self::LearningRate, Self::GradientNorm];

    /// Returns the name for display.
    pub fn name(self) -> &'static str {
        match self {
            Self::EvalLoss => "eval loss",
            Self::LearningRate => "learning rate",
            Self::GradientNorm => "gradient norm",
        }
    }

    fn pattern(self) -> &'static Regex {
        match self {
            Self::EvalLoss => &EVAL_LOSS,
            Self::LearningRate => &LEARNING_RATE,
            Self::GradientNorm => &GRADIENT_NORM,
        }
    }

    /// Returns the measure that a tag of TensorBoard names.
    pub(super) fn of_tag(tag: &str) -> Option<Self> {
        let tag = format!("{tag}:");
        Self::ALL.into_iter().find(|measure| measure.pattern().find(&tag).is_some_and(|found| found.end() == tag.len()))
    }
}

static EVAL_LOSS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)(?:^|[^\w/.-])(?:(?:eval(?:uation)?|val(?:id(?:ation)?)?|dev)(?:[ _/-](?:avg|average|mean))?[ _/-]loss|loss[_/](?:eval|val(?:id(?:ation)?)?)(?:/\w+)?)(?:['\x22]?\s*[=:]|\s+is\b|\s)",
    )
});
static LEARNING_RATE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?i)(?:^|[^\w.-])(?:lr(?:[/-][\w/-]+)?|learning[ _]rate(?:/\w+)?)(?:['\x22]?\s*[=:]|\s)")
});
static GRADIENT_NORM: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?i)(?:^|[^\w.-])(?:global[ _])?(?:grad(?:ient)?s?[ _/-](?:l2[ _])?norm|gnorm)(?:['\x22]?\s*[=:]|\s)")
});
static NOT_A_NUMBER: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)[=:]\s*(?:tensor\()?['\x22]?-?nan\b"));

/// Reads the other values in a line or a dict, beside a loss that is known already.
pub(super) fn beside(loss: Option<f64>, text: &str) -> Facts {
    let value = |measure: Measure| {
        let found = measure.pattern().find_iter(text).find_map(|found| number_at(&text[found.end()..]))?;
        Some((measure, found))
    };
    let others: Vec<_> = Measure::ALL.into_iter().filter_map(value).collect();
    let is_eval_broken = others.iter().any(|(measure, value)| *measure == Measure::EvalLoss && value.is_nan());
    let is_broken = !is_eval_broken && NOT_A_NUMBER.is_match(text);
    Facts { loss, others, is_broken }
}
