//! Parser for lines of words, such as `step 1/3 loss=0.1234` or `Epoch [2/10], Step [5/100], Loss: 0.5`.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::bars::{fact, number_at, pattern};

/// Names under which progress bars and dicts report the loss of a step, or an average.
pub(super) const LOSSES: [&str; 12] = [
    "loss",
    "step_loss",
    "train_loss",
    "train/loss",
    "train_loss_step",
    "training_loss",
    "avr_loss",
    "avg_loss",
    "loss_step",
    "loss/train",
    "total_loss",
    "train_loss_epoch",
];

static EPOCH: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)\bepochs?['\x22]?\s*[=:#]?\s*\[?(\d+)(?:\s*(?:/|of)\s*(\d+))?"));
static STEP: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)\b(?:global_step|train_step|steps?|iter(?:ation)?s?|batch)['\x22]?\s*[=:#]?\s*\[?\s*(\d+)(?:\s*(?:/|of)\s*(\d+))?",
    )
});
/// A count in brackets without a name, as in `loss: 1.798  [ 6400/60000]`.
static BRACKETS: LazyLock<Regex> = LazyLock::new(|| pattern(r"[\[(]\s*(\d+)\s*/\s*(\d+)\s*(?:\(\d+%\))?[\])]"));
static LOSS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)(?:^|[^\w/.-])(?:(?:train(?:ing)?|step|avr|avg|running|total|batch)[_/])?loss(?:_step|/train)?(?:['\x22]?\s*[=:]|\s+is\b|\s)",
    )
});

/// A count, and its total if the text has it.
pub(super) type Counted = (u64, Option<u64>);

/// Facts in a line of words.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words {
    pub step: Option<Counted>,
    pub epoch: Option<Counted>,
    pub loss: Option<f64>,
}

/// Parses a line of words.
pub(super) fn words(line: &str) -> Words {
    // The brackets may be those of the epoch.
    let behind_epoch = &line[EPOCH.find(line).map_or(0, |epoch| epoch.end())..];
    let step = counted(&STEP, line).or_else(|| counted(&BRACKETS, behind_epoch));
    Words { step, epoch: epoch(line), loss: loss_in_words(line) }
}

pub(super) fn epoch(text: &str) -> Option<Counted> {
    counted(&EPOCH, text)
}

/// Returns the loss among the facts of a bar or a dict.
pub(super) fn loss(facts: &str) -> Option<f64> {
    LOSSES.iter().find_map(|name| fact(facts, name))
}

/// Returns the training's loss in a text of words.
pub(super) fn loss_in_words(text: &str) -> Option<f64> {
    LOSS.find_iter(text).find_map(|found| {
        let before = text[..found.start()].trim_end_matches(|c: char| !c.is_alphanumeric());
        let word = before.rsplit(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
        if is_evaluation(word) { None } else { number_at(&text[found.end()..]) }
    })
}

/// Returns true if a word in the text shows that a loss is not the training's, or not that of a step.
pub(super) fn is_evaluation(text: &str) -> bool {
    const WORDS: [&str; 11] = [
        "val",
        "valid",
        "validation",
        "validating",
        "eval",
        "evaluation",
        "evaluating",
        "test",
        "testing",
        "best",
        "smooth",
    ];
    text.split(|c: char| !c.is_alphanumeric()).any(|word| WORDS.iter().any(|known| word.eq_ignore_ascii_case(known)))
}

/// Returns true if a bar with this label may count the steps of a training.
pub(super) fn is_training(label: &str) -> bool {
    const WORDS: [&str; 10] =
        ["train", "training", "step", "steps", "epoch", "epochs", "iter", "iteration", "iterations", "batch"];
    let words = || label.split(|c: char| !c.is_alphabetic());
    label.is_empty() || words().any(|word| WORDS.iter().any(|known| word.eq_ignore_ascii_case(known)))
}

/// Returns the count and the total after a word.
fn counted(word: &Regex, text: &str) -> Option<Counted> {
    let found = word.captures(text)?;
    let number = |found: &Captures<'_>, group| found.get(group)?.as_str().parse().ok();
    Some((number(&found, 1)?, number(&found, 2)))
}
