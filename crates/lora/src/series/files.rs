//! Readers for the files in which trainers record steps and losses. They are exact where a log rounds.

use std::borrow::Cow;
use std::fmt;
use std::io::{BufRead, BufReader, Read};

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};

use super::error::Error;
use super::grow::Growing;
use super::{Series, Source, tensorboard};

/// Maximum number of bytes read of a file: months of training. The rest is left out where the format allows it.
pub const MAX_FILE: u64 = 64 << 20;
/// Maximum number of bytes read of a line in `trainer_log.jsonl`. Real lines have 200.
const MAX_LINE: u64 = 64 << 10;

/// Reads the series of a file in which a trainer records its losses. Returns `None` for other file names.
///
/// # Errors
///
/// The inner result is [`Error::Unreadable`] when the file is not of the format that its name suggests.
pub fn from_file(name: &str, reader: impl Read) -> Option<Result<Series, Error>> {
    let name = name.rsplit('/').next().unwrap_or(name);
    let reader = BufReader::new(reader.take(MAX_FILE + 1));
    match name {
        "trainer_log.jsonl" => Some(trainer_log(reader)),
        "trainer_state.json" => Some(trainer_state(reader)),
        name if name.contains(".tfevents.") => Some(tensorboard::read(reader)),
        _ => None,
    }
}

/// A line of `trainer_log.jsonl`, or an entry in the history of `trainer_state.json`.
#[derive(Debug, Deserialize)]
struct Entry {
    #[serde(alias = "current_steps")]
    step: Option<u64>,
    total_steps: Option<u64>,
    loss: Option<Loss>,
}

#[derive(Debug, Deserialize)]
struct Loss(#[serde(with = "super::json")] f64);

impl Entry {
    fn push(self, growing: &mut Growing) {
        let Some(step) = self.step else { return };
        growing.reach(step, self.total_steps);
        if let Some(Loss(loss)) = self.loss {
            growing.push(step, loss);
        }
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
    let mut series = state.log_history.0.series;
    series.source = Some(Source::TrainerState);
    series.steps_seen = state.global_step.unwrap_or(series.steps_seen);
    series.steps_wanted = state.max_steps.and_then(|steps| u64::try_from(steps).ok()).filter(|steps| *steps > 0);
    Ok(series)
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
