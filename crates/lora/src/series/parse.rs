//! Parser for the losses in a log's lines, and for the series that the lines of one trainer make.

use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde::{Deserialize, Serialize};

use super::bars::{Bar, fact, number_at, pattern};
use super::grow::Growing;
use super::{Series, Source};

/// Names under which progress bars and dicts report the loss of a step, or an average.
const LOSSES: [&str; 5] = ["loss", "step_loss", "train_loss", "avr_loss", "avg_loss"];

/// The facts in a line.
#[derive(Debug, Clone, Copy)]
struct Seen {
    source: Source,
    step: u64,
    total: Option<u64>,
    /// The epoch and the total number of epochs.
    epoch: Option<(u64, Option<u64>)>,
    loss: Option<f64>,
}

/// The current count of steps. Some trainers restart the count in each epoch.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Count {
    step: u64,
    total: Option<u64>,
    epoch: Option<u64>,
    /// The number of steps in earlier epochs.
    before: u64,
}

/// The step number of dicts that do not contain one. The bar that transformers draws right after the dict has it, as
/// long as both come in order. A buffered standard output breaks the order, and then dicts can only be counted.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Dicts {
    is_waiting: bool,
    is_unordered: bool,
    /// The number of steps from one dict to the next.
    stride: u64,
    /// The total of the training's bar, which distinguishes it from bars of evaluations.
    total: Option<u64>,
}

/// The state of a log that is read line by line.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Parser {
    growing: Growing,
    version: u64,
    count: Count,
    dicts: Dicts,
    /// The position and total of the last bar without a label.
    bare: Option<(u64, u64)>,
    /// The total number of steps that the trainer has announced.
    announced: Option<u64>,
    /// The total number of epochs in a bar of epochs.
    epochs: Option<u64>,
}

impl Parser {
    pub(super) fn series(&self) -> &Series {
        &self.growing.series
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Reads a line without escape sequences.
    pub(super) fn line(&mut self, line: &str) {
        let state = |series: &Series| {
            let last = series.last().map(|last| (last.step, last.value.to_bits()));
            (series.source, series.steps_seen, series.steps_wanted, series.points.len(), last)
        };
        let before = state(self.series());
        self.read(line);
        self.version += u64::from(state(self.series()) != before);
    }

    fn read(&mut self, line: &str) {
        if line.contains("optimization steps") {
            self.announced = line.rsplit(|c: char| !c.is_ascii_digit()).find_map(|number| number.parse().ok());
            return;
        }
        let bar = Bar::of(line);
        if let Some(bar) = &bar {
            self.bar(bar);
        }
        // A dict may follow a bar on the same line, if no line end closed the bar.
        if let Some((_, dict)) = line.split_once('{') {
            self.dict(dict);
        } else if bar.is_none()
            && let Some(seen) = plain(line)
        {
            self.take(seen);
        }
    }

    fn bar(&mut self, bar: &Bar<'_>) {
        let loss = LOSSES.iter().find_map(|name| fact(bar.rest, name));
        let seen = |source| Seen { source, step: bar.done, total: Some(bar.total), epoch: None, loss };
        match bar.label {
            "" if loss.is_none() => self.bare_bar(bar),
            "steps" => self.take(seen(Source::SdScripts)),
            label if label.ends_with("Steps") => self.take(seen(Source::Diffusers)),
            "step" => self.take(seen(Source::OneTrainer)),
            "epoch" if loss.is_none() => self.epochs = Some(bar.total),
            label if loss.is_none() || is_evaluation(label) => {}
            _ if bar.rest.starts_with("lr: ") => self.take(seen(Source::AiToolkit)),
            label => self.take(Seen { epoch: counted(&EPOCH, label), ..seen(Source::Plain) }),
        }
    }

    /// Reads a bar without a label, which is a bar of transformers or any other.
    fn bare_bar(&mut self, bar: &Bar<'_>) {
        self.bare = Some((bar.done, bar.total));
        if self.series().source != Some(Source::HfTrainer) {
            return;
        }
        let total = *self.dicts.total.get_or_insert(self.announced.unwrap_or(bar.total));
        if total != bar.total {
            return;
        }
        if std::mem::take(&mut self.dicts.is_waiting)
            && !self.dicts.is_unordered
            && bar.done > 0
            && let Some(last) = self.growing.take_last()
        {
            let before = self.series().last().map_or(0, |point| point.step);
            self.dicts.stride = bar.done.saturating_sub(before).max(1);
            self.growing.push(bar.done, last.value);
        }
        self.growing.reach(bar.done, Some(total));
    }

    fn dict(&mut self, dict: &str) {
        let Some(loss) = fact(dict, "loss") else {
            // The summary at the end. It also comes after a training that was too short to report a loss.
            if dict.contains("train_runtime")
                && let Some((done, total)) = self.bare
                && self.may_take(Source::HfTrainer, false)
            {
                self.growing.reach(done, Some(total));
                // Dicts come at even intervals, which are known only now.
                let counted = self.series().last().filter(|_| self.dicts.is_unordered).map_or(0, |last| last.step);
                self.growing.stretch(done.checked_div(counted).unwrap_or(1));
            }
            return;
        };
        let whole = |names: [&str; 3]| names.iter().find_map(|name| fact(dict, name)).and_then(as_count);
        if let Some(step) = whole(["step", "global_step", "current_steps"]) {
            let total = whole(["total_steps", "max_steps", "total"]);
            self.take(Seen { source: Source::HfTrainer, step, total, epoch: None, loss: Some(loss) });
        } else if self.may_take(Source::HfTrainer, true) {
            let last = self.series().last().map_or(0, |point| point.step);
            self.dicts.is_unordered |= self.dicts.is_waiting;
            self.dicts.is_waiting = true;
            let step = last.saturating_add(self.dicts.stride.max(1));
            self.growing.push(step, loss);
            if self.bare.is_none() {
                self.growing.reach(step, self.announced);
            }
        }
    }

    /// Returns true if a line of this source belongs to the series; a line with a loss may restart the series. One log
    /// has one series: that of the first trainer with a loss. Plain lines count only while no known trainer has
    /// reported a loss.
    fn may_take(&mut self, source: Source, has_loss: bool) -> bool {
        let series = self.series();
        let taken = series.source;
        if taken == Some(source) {
            return true;
        }
        let weak = series.points.is_empty() || (taken == Some(Source::Plain) && source != Source::Plain);
        let begins = taken.is_none() || (has_loss && weak);
        if begins {
            self.growing.begin(source);
            (self.count, self.dicts) = (Count::default(), Dicts::default());
        }
        begins
    }

    fn take(&mut self, seen: Seen) {
        if !self.may_take(seen.source, seen.loss.is_some()) {
            return;
        }
        let (step, wanted) = self.place(seen);
        self.growing.reach(step, wanted.or(self.announced));
        // A bar at step 0 may show the loss of the previous training.
        if let Some(loss) = seen.loss.filter(|_| step > 0) {
            self.growing.push(step, loss);
            self.growing.series.averaged = seen.source == Source::SdScripts;
        }
    }

    /// Returns the step within the whole training, and the total number of steps.
    fn place(&mut self, seen: Seen) -> (u64, Option<u64>) {
        let count = &mut self.count;
        let epoch = seen.epoch.map(|(epoch, _)| epoch);
        let grew = count.epoch.zip(epoch).map(|(before, now)| now > before);
        if seen.step < count.step || (seen.step == count.step && grew == Some(true)) {
            // The bar of OneTrainer does not contain the epoch.
            let all_done = seen.source == Source::OneTrainer && count.total == Some(count.step);
            if grew.unwrap_or(all_done) {
                count.before = count.before.saturating_add(count.total.unwrap_or(0).max(count.step));
            } else {
                // Another training, or the same one restarted from an earlier step.
                count.before = 0;
            }
        }
        (count.step, count.total, count.epoch) = (seen.step, seen.total, epoch);
        let epochs = seen.epoch.and_then(|(_, of)| of).or(self.epochs);
        let is_part = count.before > 0 || seen.source == Source::OneTrainer;
        let wanted = match (seen.total, epochs) {
            (Some(total), Some(epochs)) if is_part => Some(total.saturating_mul(epochs)),
            (total, _) => total.filter(|_| !is_part),
        };
        (count.before.saturating_add(seen.step), wanted)
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "only what a count can be")]
fn as_count(number: f64) -> Option<u64> {
    (0.0..9e15).contains(&number).then_some(number as u64)
}

/// Returns true if a word in the text shows that a loss is not the training's, or not that of a step.
fn is_evaluation(text: &str) -> bool {
    const WORDS: [&str; 8] = ["val", "valid", "validation", "eval", "evaluation", "test", "best", "smooth"];
    text.split(|c: char| !c.is_alphanumeric()).any(|word| WORDS.iter().any(|known| word.eq_ignore_ascii_case(known)))
}

static EPOCH: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)\bepochs?['\x22]?\s*[=:#]?\s*\[?(\d+)(?:\s*(?:/|of)\s*(\d+))?"));
static STEP: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)\b(?:global_step|train_step|steps?|iter(?:ation)?s?|batch)['\x22]?\s*[=:#]?\s*\[?(\d+)(?:\s*(?:/|of)\s*(\d+))?",
    )
});
static LOSS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?i)(?:^|[^\w/.-])(?:(?:train(?:ing)?|step|avr|avg|running)[_/])?loss(?:['\x22]?\s*[=:]|\s+is\b|\s)")
});

/// Returns the count and the total after a word.
fn counted(word: &Regex, text: &str) -> Option<(u64, Option<u64>)> {
    let found = word.captures(text)?;
    let number = |found: &Captures<'_>, group| found.get(group)?.as_str().parse().ok();
    Some((number(&found, 1)?, number(&found, 2)))
}

/// Parses a line of words, such as `step 1/3 loss=0.1234` or `Epoch [2/10], Step [5/100], Loss: 0.5`.
fn plain(line: &str) -> Option<Seen> {
    let loss = LOSS.find_iter(line).find_map(|found| {
        let before = line[..found.start()].trim_end_matches(|c: char| !c.is_alphanumeric());
        let word = before.rsplit(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
        if is_evaluation(word) { None } else { number_at(&line[found.end()..]) }
    })?;
    let (step, epoch) = (counted(&STEP, line), counted(&EPOCH, line));
    let ((step, total), epoch) = match (step, epoch) {
        (Some(step), epoch) => (step, epoch),
        // A line with only epochs counts the epochs as steps.
        (None, epoch) => (epoch?, None),
    };
    Some(Seen { source: Source::Plain, step, total, epoch, loss: Some(loss) })
}
