//! Reader for the transaction log of Weights & Biases: records in the log format of LevelDB, but with the checksum CRC-32,
//! each a `Record` of `wandb_internal.proto`, of which only the history is read.

use std::io::Read;

use crc::{CRC_32_ISO_HDLC, Crc};

use super::protobuf::{Fields, Value};
use super::scalars::Scalars;
use crate::series::{Error, Series, Source};

const CHECK: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);
/// First bytes of a file; a number and a version follow.
const HEAD: &[u8] = b":W&B";
const HEAD_LENGTH: usize = 7;
/// Length of a block, and of the head of a part in it: checksum, length and kind.
const BLOCK: usize = 32 << 10;
const PART_HEAD: usize = 7;
/// Kinds of parts: a whole record, and the first and the last part of one. All others are in the middle.
const FULL: u8 = 1;
const FIRST: u8 = 2;
const LAST: u8 = 4;
/// Maximum number of bytes of a record that are kept. Longer records hold no numbers of a step.
const MAX_RECORD: usize = 1 << 20;
/// The step of the trainer, if its own differs from the number of its calls.
const STEP: &str = "train/global_step";

/// Returns true if a file begins as such a log.
pub fn is_log(begin: &[u8]) -> bool {
    begin.starts_with(HEAD) && begin.len() >= HEAD_LENGTH
}

/// Reads a file. A truncated or damaged file returns the points up to there: the training may have been stopped.
pub fn read(mut reader: impl Read) -> Result<Series, Error> {
    let mut scalars = Scalars::default();
    let mut record = Vec::new();
    let mut block = Vec::new();
    let mut is_first = true;
    while { reader.by_ref().take(BLOCK as u64).read_to_end(&mut block)? } > 0 {
        let mut rest = block.as_slice();
        if is_first {
            if !is_log(rest) {
                break;
            }
            rest = &rest[HEAD_LENGTH..];
            is_first = false;
        }
        while let Some((kind, part, behind)) = part(rest) {
            rest = behind;
            if matches!(kind, FULL | FIRST) {
                record.clear();
            }
            if record.len() + part.len() <= MAX_RECORD {
                record.extend_from_slice(part);
            }
            if matches!(kind, FULL | LAST) {
                history(&record, &mut scalars);
            }
        }
        block.clear();
    }
    match is_first {
        true => Err(Error::Unreadable("this is not a log of Weights & Biases".to_owned())),
        false => Ok(scalars.into_series(Source::WeightsAndBiases)),
    }
}

/// Splits the next part off a block. Returns its kind, its data and the rest; `None` at the end of the block, and at a
/// part that is cut or damaged.
fn part(block: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (head, rest) = block.split_at_checked(PART_HEAD)?;
    let [check @ .., low, high, kind] = head else { return None };
    let (data, behind) = rest.split_at_checked(usize::from(u16::from_le_bytes([*low, *high])))?;
    let mut digest = CHECK.digest();
    digest.update(&[*kind]);
    digest.update(data);
    (check == digest.finalize().to_le_bytes()).then_some((*kind, data, behind))
}

/// Reads the numbers of a `Record` whose field 2 is a `HistoryRecord`: items are its field 1, and the step is 2.
fn history(record: &[u8], scalars: &mut Scalars) {
    let history = Fields(record).find_map(|field| match field {
        (2, Value::Bytes(history)) => Some(history),
        _ => None,
    });
    let (mut step, mut numbers) = (None, Vec::new());
    for field in Fields(history.unwrap_or_default()) {
        match field {
            (1, Value::Bytes(bytes)) => numbers.extend(item(bytes)),
            (2, Value::Bytes(bytes)) => {
                step = Fields(bytes).find_map(|field| match field {
                    (1, Value::Number(number)) => Some(number),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    let own = numbers.iter().find(|(name, _)| name == STEP);
    let own = own.and_then(|(_, number)| (*number >= 0.0 && number.fract() == 0.0).then_some(*number as u64));
    // The first step has no number: protocol buffers leave zeros out.
    let step = own.or(step).unwrap_or(0);
    for (name, number) in numbers.iter().filter(|(name, _)| !name.starts_with('_')) {
        scalars.take(step, name, *number);
    }
}

/// Reads a `HistoryItem` with a number: `key` is its field 1, `nested_key` 2, `value_json` 16.
fn item(bytes: &[u8]) -> Option<(String, f64)> {
    let (mut names, mut number) = (Vec::new(), None);
    for field in Fields(bytes) {
        match field {
            (1 | 2, Value::Bytes(name)) if !name.is_empty() => names.push(std::str::from_utf8(name).ok()?),
            // Python's JSON, whose words for numbers that are not finite are known here, too.
            (16, Value::Bytes(json)) => number = std::str::from_utf8(json).ok()?.parse().ok(),
            _ => {}
        }
    }
    Some((names.join("."), number?))
}
