//! Parser for the losses in a log's lines, and for the series that the lines of one trainer make.

use serde::{Deserialize, Serialize};

use super::bars::{Bar, Style, as_count, fact};
use super::count::{Count, Covers, Told};
use super::grow::{Facts, Growing};
use super::lines::{self, Counted, is_evaluation, is_training};
use super::measures::beside;
use super::{Series, Source};

/// The facts in a line.
#[derive(Debug, Clone)]
struct Seen {
    source: Source,
    told: Told,
    facts: Facts,
}

impl Seen {
    /// Sets what the count covers.
    fn covering(mut self, covers: Covers) -> Self {
        self.told.covers = covers;
        self
    }

    fn in_epoch(mut self, epoch: Option<Counted>) -> Self {
        self.told.epoch = epoch;
        self
    }
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

/// The step number of lines that have a loss and no count, next to a bar without a loss.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Apart {
    /// The position and the total of the bar.
    bar: Option<(u64, Option<u64>)>,
    /// True once such a line was read: then the bar counts the steps of the series.
    is_used: bool,
    /// True when the lines come before the bar moves on.
    is_ahead: bool,
    /// True when the current position of the bar has a loss already.
    is_told: bool,
}

/// The state of a log that is read line by line.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Parser {
    growing: Growing,
    version: u64,
    count: Count,
    dicts: Dicts,
    apart: Apart,
    /// The position and total of the last bar without a label.
    bare: Option<(u64, u64)>,
    /// The total number of steps that the trainer has announced.
    announced: Option<u64>,
    /// The total number of epochs in a bar of epochs.
    epochs: Option<u64>,
    /// The last epoch in a line of its own.
    epoch: Option<Counted>,
    /// True when lines without a step count the epochs.
    counts_epochs: bool,
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
            let others: usize = series.others.values().map(Vec::len).sum();
            (series.source, series.steps_seen, series.steps_wanted, series.points.len(), others, last)
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
        // Several bars share a line if no line end closed them.
        let mut rest = line;
        while let Some(bar) = Bar::of(rest) {
            self.bar(&bar);
            rest = bar.behind;
        }
        // A dict may follow a bar on the same line, if no line end closed the bar.
        let dict = line.split_once('{').is_some_and(|(_, dict)| self.dict(dict));
        if !dict && !rest.is_empty() {
            self.words(rest);
        }
    }

    fn bar(&mut self, bar: &Bar<'_>) {
        let in_facts = lines::loss(bar.rest).or_else(|| lines::loss_in_words(bar.rest));
        let loss = in_facts.or_else(|| lines::loss_in_words(bar.label));
        let text = format!("{} {}", bar.label, bar.rest);
        let told = Told { step: bar.done, total: bar.total, epoch: None, covers: Covers::Training };
        let seen = |source| Seen { source, told, facts: beside(loss, &text) };
        match (bar.style, bar.label) {
            (Style::Keras, _) => self.keras(bar, seen(Source::Plain)),
            (_, label) if is_evaluation(label) => {}
            (Style::Tqdm, "") if loss.is_none() => self.bare_bar(bar),
            (Style::Tqdm, "steps") => self.take(seen(Source::SdScripts)),
            (Style::Tqdm, label) if label.ends_with("Steps") => self.take(seen(Source::Diffusers)),
            (Style::Tqdm, "step") => self.take(seen(Source::OneTrainer).covering(Covers::Epoch)),
            (_, "epoch" | "epochs" | "Epoch" | "Epochs") if loss.is_none() => self.epochs = bar.total,
            (_, label) if loss.is_none() && is_training(label) => self.move_on(bar),
            _ if loss.is_none() => {}
            _ if bar.rest.starts_with("lr: ") => self.take(seen(Source::AiToolkit)),
            (style, label) => {
                let covers = if style == Style::Rich { Covers::Epoch } else { Covers::Unknown };
                let epoch = lines::epoch(label).or(self.epoch);
                self.take(seen(Source::Plain).covering(covers).in_epoch(epoch));
            }
        }
    }

    /// Reads a bar of Keras, one for each epoch. Those of an evaluation look the same, but no line with an epoch
    /// announces them.
    fn keras(&mut self, bar: &Bar<'_>, seen: Seen) {
        let is_new = self.series().points.is_empty() || self.epoch.map(|(epoch, _)| epoch) != self.count.epoch;
        if seen.facts.loss.is_some() && (is_new || (bar.done >= self.count.step && bar.total == self.count.total)) {
            self.take(seen.covering(Covers::Epoch).in_epoch(self.epoch));
        }
    }

    /// Reads a bar without a label, which is a bar of transformers or any other.
    fn bare_bar(&mut self, bar: &Bar<'_>) {
        self.move_on(bar);
        let Some(total_of_bar) = bar.total else { return };
        self.bare = Some((bar.done, total_of_bar));
        if self.series().source != Some(Source::HfTrainer) {
            return;
        }
        let total = *self.dicts.total.get_or_insert(self.announced.unwrap_or(total_of_bar));
        if total != total_of_bar {
            return;
        }
        if std::mem::take(&mut self.dicts.is_waiting) && !self.dicts.is_unordered && bar.done > 0 {
            let points = &self.series().points;
            let before = points.iter().rev().nth(1).map_or(0, |point| point.step);
            self.dicts.stride = bar.done.saturating_sub(before).max(1);
            self.growing.move_last(bar.done);
        }
        self.growing.reach(bar.done, Some(total));
    }

    /// Reads a bar that may count the steps of losses in lines of their own.
    fn move_on(&mut self, bar: &Bar<'_>) {
        let before = self.apart.bar.replace((bar.done, bar.total));
        self.apart.is_told &= before.is_some_and(|(done, _)| done == bar.done);
        if self.apart.is_used && self.series().source == Some(Source::Plain) {
            let went_back = before.is_some_and(|(done, _)| bar.done < done);
            let step = if went_back { bar.done } else { bar.done.max(self.count.step) };
            let epoch = lines::epoch(bar.label).or(self.epoch);
            let told = Told { step, total: bar.total, epoch, covers: Covers::Unknown };
            self.take(Seen { source: Source::Plain, told, facts: Facts::default() });
        }
    }

    /// Reads a dict or a line of JSON. Returns false if it tells nothing.
    fn dict(&mut self, dict: &str) -> bool {
        let is_summary = dict.contains("train_runtime");
        let loss = if is_summary { None } else { lines::loss(dict) };
        let facts = beside(loss, dict);
        if loss.is_none() {
            // The summary at the end also comes after a training that was too short to report a loss.
            if is_summary {
                self.summary();
            }
            self.take_others(&facts);
            return is_summary || !facts.others.is_empty();
        }
        let whole = |names: &[&str]| names.iter().find_map(|name| fact(dict, name)).and_then(as_count);
        let steps = ["step", "global_step", "current_steps", "train/global_step", "num_updates", "iter", "iteration"];
        if let Some(step) = whole(&steps) {
            let total = whole(&["total_steps", "max_steps", "total"]);
            let told = Told { step, total, epoch: None, covers: Covers::Training };
            self.take(Seen { source: Source::HfTrainer, told, facts });
        } else if self.may_take(Source::HfTrainer, true) {
            let last = self.series().last().map_or(0, |point| point.step);
            self.dicts.is_unordered |= self.dicts.is_waiting;
            self.dicts.is_waiting = true;
            let step = last.saturating_add(self.dicts.stride.max(1));
            self.growing.take(step, &facts);
            if self.bare.is_none() {
                self.growing.reach(step, self.announced);
            }
        }
        true
    }

    fn summary(&mut self) {
        if let Some((done, total)) = self.bare
            && self.may_take(Source::HfTrainer, false)
        {
            self.growing.reach(done, Some(total));
            // Dicts come at even intervals, which are known only now.
            let counted = self.series().last().filter(|_| self.dicts.is_unordered).map_or(0, |last| last.step);
            self.growing.stretch(done.checked_div(counted).unwrap_or(1));
        }
    }

    /// Reads a line of words.
    fn words(&mut self, line: &str) {
        let words = lines::words(line);
        let facts = beside(words.loss, line);
        let is_apart = self.apart.is_used && self.series().source == Some(Source::Plain);
        let plain = |step, total, epoch, facts| {
            let told = Told { step, total, epoch, covers: Covers::Training };
            Seen { source: Source::Plain, told, facts }
        };
        match (words.step, words.epoch) {
            _ if words.loss.is_none() => {
                let is_heading = line.get(..5).is_some_and(|word| word.eq_ignore_ascii_case("epoch"));
                self.epoch = words.epoch.filter(|_| is_heading).or(self.epoch);
                self.take_others(&facts);
            }
            (Some((step, total)), epoch) => self.take(plain(step, total, epoch, facts)),
            // A line with only epochs counts the epochs as steps, unless it is the summary of their steps.
            (None, Some((step, total))) => {
                self.counts_epochs |= self.series().points.is_empty();
                if self.counts_epochs {
                    self.take(plain(step, total, None, facts));
                }
            }
            (None, None) if is_apart || self.series().points.is_empty() => self.apart(facts),
            (None, None) => {}
        }
    }

    /// Reads a loss in a line without a count, next to a bar without a loss.
    fn apart(&mut self, facts: Facts) {
        let Some((done, total)) = self.apart.bar else { return };
        if !self.may_take(Source::Plain, true) {
            return;
        }
        self.apart.is_ahead |= done == 0;
        self.apart.is_used = true;
        let next = self.count.step.saturating_add(u64::from(self.apart.is_told));
        let step = done.saturating_add(u64::from(self.apart.is_ahead)).max(next);
        self.apart.is_told = true;
        let told = Told { step, total, epoch: self.epoch, covers: Covers::Unknown };
        self.take(Seen { source: Source::Plain, told, facts });
    }

    /// Records values other than the loss at the current step. They alone do not make a series.
    fn take_others(&mut self, facts: &Facts) {
        let series = self.series();
        if series.source.is_some() && !facts.others.is_empty() {
            let step = series.last().map_or(0, |last| last.step).max(series.steps_seen);
            self.growing.take(step, facts);
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
            self.apart = Apart { bar: self.apart.bar, ..Apart::default() };
        }
        begins
    }

    fn take(&mut self, seen: Seen) {
        if !self.may_take(seen.source, seen.facts.loss.is_some()) {
            return;
        }
        let (step, wanted) = self.count.place(&seen.told, self.epochs);
        self.growing.reach(step, wanted.or(self.announced));
        // A bar at step 0 may show the loss of the previous training.
        if step == 0 {
            return;
        }
        if seen.facts.loss.is_some() {
            self.growing.series.averaged = seen.source == Source::SdScripts;
        }
        self.growing.take(step, &seen.facts);
    }
}
