//! Readers for the files in which trainers record steps and losses. They are exact where a log rounds.

use std::borrow::Cow;
use std::fmt;
use std::io::{BufRead, BufReader, Read};

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};

use super::bars::as_count;
use super::error::Error;
use super::grow::{Facts, Growing};
use super::lines::LOSSES;
use super::trackers::{mlflow, tensorboard, wandb};
use super::{LogReader, Measure, Series, Source};

const TRAINER_LOG: &str = "trainer_log.jsonl";
const METRICS: &str = "metrics.csv";
/// Names of the column with the step, best first.
const STEPS: [&str; 5] = ["step", "global_step", "iteration", "iter", "epoch"];
/// Maximum number of bytes read of a file: months of training. The rest is left out where the format allows it.
pub const MAX_FILE: u64 = 64 << 20;
/// Maximum number of bytes read of a line in `trainer_log.jsonl`. Real lines have 200.
const MAX_LINE: u64 = 64 << 10;
/// Number of bytes from which the kind of a file is recognized.
const BEGIN: u64 = 256;
/// Number of bytes of a log that are read at a time.
const PIECE: usize = 64 << 10;

/// Reads the series of a file in which a trainer or its tracker records losses. Returns `None` for other paths.
///
/// # Errors
///
/// The inner result is [`Error::Unreadable`] when the file is not of the format that its name suggests.
pub fn from_file(path: &str, reader: impl Read) -> Option<Result<Series, Error>> {
    let reader = BufReader::new(reader.take(MAX_FILE + 1));
    if let Some(metric) = mlflow::metric_of(path) {
        return Some(mlflow::read(metric, reader));
    }
    match path.rsplit('/').next().unwrap_or(path) {
        TRAINER_LOG => Some(trainer_log(reader)),
        "trainer_state.json" => Some(trainer_state(reader)),
        METRICS => Some(table(reader)),
        name if name.contains(".tfevents.") => Some(tensorboard::read(reader)),
        name if name.ends_with(".wandb") => Some(wandb::read(reader)),
        _ => None,
    }
}

/// Reads the series of a file by its content: a log, or a file of a trainer under any name.
///
/// # Errors
///
/// [`Error::Read`] when the file cannot be read, [`Error::Unreadable`] when it is damaged.
pub fn read_any(path: &str, mut reader: impl Read) -> Result<Series, Error> {
    if let Some(metric) = mlflow::metric_of(path) {
        return mlflow::read(metric, BufReader::new(reader.take(MAX_FILE)));
    }
    let mut begin = Vec::new();
    reader.by_ref().take(BEGIN).read_to_end(&mut begin)?;
    let name = path.rsplit('/').next().unwrap_or(path);
    if name == TRAINER_LOG {
        return trainer_log(BufReader::new(begin.chain(reader.take(MAX_FILE))));
    }
    if tensorboard::is_event_file(&begin) {
        return tensorboard::read(begin.chain(reader));
    }
    if wandb::is_log(&begin) {
        return wandb::read(begin.chain(reader));
    }
    let head = begin.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if name == METRICS || Columns::of(&csv::ByteRecord::from_iter(head.split(|byte| *byte == b','))).is_some() {
        return table(begin.chain(reader.take(MAX_FILE)));
    }
    if begin.trim_ascii_start().starts_with(b"{") {
        reader.by_ref().take(MAX_FILE).read_to_end(&mut begin)?;
        if let Ok(state) = serde_json::from_slice::<State>(&standard(&begin))
            && !state.log_history.0.series.points.is_empty()
        {
            return Ok(state.series());
        }
    }
    let mut log = LogReader::new();
    log.feed(&begin);
    let mut piece = vec![0; PIECE];
    loop {
        match reader.read(&mut piece)? {
            0 => break,
            count => log.feed(&piece[..count]),
        }
    }
    log.finish();
    Ok(log.series().clone())
}

/// The columns of a table of metrics, as the `CSVLogger` of Lightning writes it: a row has only some of its values.
#[derive(Debug)]
struct Columns {
    step: usize,
    losses: Vec<usize>,
    others: Vec<(Measure, usize)>,
}

impl Columns {
    /// Returns the columns of a table with these names; `None` if it has no steps or no losses.
    fn of(names: &csv::ByteRecord) -> Option<Self> {
        let at = |wanted: &str| names.iter().position(|name| name.trim_ascii() == wanted.as_bytes());
        let of_tag = |name: &[u8]| Measure::of_tag(std::str::from_utf8(name.trim_ascii()).ok()?);
        let others = names.iter().enumerate().filter_map(|(place, name)| Some((of_tag(name)?, place))).collect();
        let losses: Vec<usize> = LOSSES.iter().filter_map(|name| at(name)).collect();
        let step = STEPS.iter().find_map(|name| at(name))?;
        (!losses.is_empty()).then_some(Self { step, losses, others })
    }

    fn push(&self, row: &csv::ByteRecord, growing: &mut Growing) {
        let value = |place: &usize| std::str::from_utf8(row.get(*place)?).ok()?.trim().parse::<f64>().ok();
        let Some(step) = value(&self.step).and_then(as_count) else { return };
        let others = self.others.iter().filter_map(|(measure, place)| Some((*measure, value(place)?)));
        let others: Vec<_> = others.collect();
        let is_broken = others.iter().any(|(measure, value)| *measure == Measure::GradientNorm && value.is_nan());
        let loss = self.losses.iter().find_map(value);
        growing.reach(step, None);
        growing.take(step, &Facts { loss, others, is_broken });
    }
}

fn table(reader: impl Read) -> Result<Series, Error> {
    let unreadable = |why: String| Error::Unreadable(format!("this table of metrics cannot be read: {why}"));
    let mut table = csv::ReaderBuilder::new().flexible(true).from_reader(reader);
    let names = table.byte_headers().map_err(|error| unreadable(error.to_string()))?;
    let columns = Columns::of(names).ok_or_else(|| unreadable("it has no columns for steps and losses".to_owned()))?;
    let mut growing = Growing::default();
    growing.begin(Source::Metrics);
    for row in table.byte_records() {
        columns.push(&row.map_err(|error| unreadable(error.to_string()))?, &mut growing);
    }
    Ok(growing.series)
}

/// A line of `trainer_log.jsonl`, or an entry in the history of `trainer_state.json`.
#[derive(Debug, Deserialize)]
struct Entry {
    #[serde(alias = "current_steps")]
    step: Option<u64>,
    total_steps: Option<u64>,
    loss: Option<Number>,
    eval_loss: Option<Number>,
    learning_rate: Option<Number>,
    lr: Option<Number>,
    grad_norm: Option<Number>,
}

#[derive(Debug, Deserialize)]
struct Number(#[serde(with = "super::json")] f64);

impl Entry {
    fn push(self, growing: &mut Growing) {
        let Some(step) = self.step else { return };
        growing.reach(step, self.total_steps);
        let value = |number: Option<Number>| number.map(|Number(value)| value);
        let (loss, norm) = (value(self.loss), value(self.grad_norm));
        let others = [
            (Measure::EvalLoss, value(self.eval_loss)),
            (Measure::LearningRate, value(self.learning_rate.or(self.lr))),
            (Measure::GradientNorm, norm),
        ];
        let others = others.into_iter().filter_map(|(measure, value)| Some((measure, value?))).collect();
        growing.take(step, &Facts { loss, others, is_broken: norm.is_some_and(f64::is_nan) });
    }
}

fn trainer_log(mut reader: impl BufRead) -> Result<Series, Error> {
    let mut growing = Growing::default();
    growing.begin(Source::TrainerLog);
    let (mut line, mut fault, mut read) = (Vec::new(), None, false);
    while reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? > 0 {
        match serde_json::from_slice::<Entry>(&standard(line.trim_ascii())) {
            Ok(entry) => {
                entry.push(&mut growing);
                read = true;
            }
            // A stopped training leaves a partial line; a file without any valid line is something else.
            Err(error) if !line.trim_ascii().is_empty() => fault = fault.or(Some(error)),
            Err(_) => {}
        }
        line.clear();
    }
    match fault {
        Some(error) if !read => Err(Error::Unreadable(format!("trainer_log.jsonl has no line of JSON: {error}"))),
        _ => Ok(growing.series),
    }
}

#[derive(Debug, Deserialize)]
struct State {
    global_step: Option<u64>,
    max_steps: Option<i64>,
    #[serde(default)]
    log_history: History,
}

impl State {
    fn series(self) -> Series {
        let mut series = self.log_history.0.series;
        series.source = Some(Source::TrainerState);
        series.steps_seen = self.global_step.unwrap_or(series.steps_seen);
        series.steps_wanted = self.max_steps.and_then(|steps| u64::try_from(steps).ok()).filter(|steps| *steps > 0);
        series
    }
}

/// Entries that become points as they are read, so that a long history takes no more memory than a short one.
#[derive(Debug, Default)]
struct History(Growing);

impl<'de> Deserialize<'de> for History {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = History;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of entries")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<History, A::Error> {
                let mut growing = Growing::default();
                while let Some(entry) = entries.next_element::<Entry>()? {
                    entry.push(&mut growing);
                }
                Ok(History(growing))
            }
        }
        deserializer.deserialize_seq(Entries)
    }
}

fn trainer_state(mut reader: impl Read) -> Result<Series, Error> {
    let mut text = Vec::new();
    reader.read_to_end(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        return Err(Error::Unreadable(format!("trainer_state.json is longer than {} MiB", MAX_FILE >> 20)));
    }
    let state: State = serde_json::from_slice(&standard(&text))
        .map_err(|error| Error::Unreadable(format!("trainer_state.json is not the state of a trainer: {error}")))?;
    Ok(state.series())
}

/// Converts Python's JSON to standard JSON: Python writes NaN and infinities as words, which become strings here.
fn standard(json: &[u8]) -> Cow<'_, [u8]> {
    const WORDS: [(&[u8], &[u8]); 3] = [(b"NaN", b"\"nan\""), (b"-Infinity", b"\"-inf\""), (b"Infinity", b"\"inf\"")];
    if !WORDS.iter().any(|(word, _)| json.windows(word.len()).any(|part| part == *word)) {
        return Cow::Borrowed(json);
    }
    let mut out = Vec::with_capacity(json.len() + 64);
    let (mut at, mut in_text) = (0, false);
    while at < json.len() {
        let rest = &json[at..];
        if let Some((word, text)) = WORDS.iter().find(|(word, _)| !in_text && rest.starts_with(word)) {
            out.extend_from_slice(text);
            at += word.len();
            continue;
        }
        // An escaped character, such as a quotation mark, does not end a string.
        let taken = if in_text && rest[0] == b'\\' { 2 } else { 1 }.min(rest.len());
        in_text ^= rest[0] == b'"';
        out.extend_from_slice(&rest[..taken]);
        at += taken;
    }
    Cow::Owned(out)
}
