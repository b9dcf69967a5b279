//! Reader for TensorBoard's event files: records with checksums, each an `Event` in protocol buffers, of which only a
//! few fields are read.

use std::collections::BTreeMap;
use std::io::{self, Read};

use crc::{CRC_32_ISCSI, Crc};

use super::error::Error;
use super::grow::{Facts, Growing};
use super::lines::is_evaluation;
use super::{Measure, Series, Source};

/// CRC-32C, the checksum of the records.
const CHECK: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);
/// Maximum number of bytes of a record that are kept. Longer records are images and sounds, which are skipped.
const MAX_RECORD: usize = 1 << 20;

/// Names under which trainers record the training loss, best first.
const TAGS: [&str; 14] = [
    "loss/average",
    "loss/current",
    "train/loss",
    "loss/train_step",
    "loss",
    "train_loss",
    "step_loss",
    "training_loss",
    "train_loss_step",
    "train/loss_step",
    "Loss/train",
    "loss/train",
    "train_loss_epoch",
    "epoch_loss",
];
/// The name whose values are averages over many steps.
const AVERAGED: &str = "loss/average";

/// Maximum number of names whose last values are kept, and of bytes of a name.
const MAX_SCALARS: usize = 1000;
const MAX_NAME: usize = 200;

/// The series of a file.
#[derive(Debug)]
struct Tagged {
    losses: [Growing; TAGS.len()],
    /// The first series that is called a loss under another name, with this name.
    unknown: Option<(Vec<u8>, Growing)>,
    others: Growing,
    /// The last value under each name.
    scalars: BTreeMap<String, f64>,
}

/// Reads a file. A truncated file returns the points up to its end: the training may have been stopped.
pub(super) fn read(mut reader: impl Read) -> Result<Series, Error> {
    let losses = std::array::from_fn(|_| Growing::default());
    let mut tagged = Tagged { losses, unknown: None, others: Growing::default(), scalars: BTreeMap::new() };
    let mut record = Vec::new();
    let mut number = 0_u64;
    loop {
        number += 1;
        match next(&mut reader, &mut record)? {
            Record::Whole => event(&record, &mut tagged),
            Record::Long => {}
            Record::End => break,
            Record::Broken if number == 1 => {
                return Err(Error::Unreadable("this is not an event file of TensorBoard".to_owned()));
            }
            Record::Broken => {
                let text =
                    format!("record {number} of this event file does not match its checksum: copy the file again");
                return Err(Error::Unreadable(text));
            }
        }
    }
    let Tagged { losses, unknown, others, scalars } = tagged;
    let best = TAGS.into_iter().zip(losses).find(|(_, growing)| !growing.series.points.is_empty());
    let (tag, Growing { series, .. }) = best.or(unknown.map(|(_, growing)| ("", growing))).unwrap_or_default();
    let (averaged, others) = (tag == AVERAGED, others.series.others);
    Ok(Series { source: Some(Source::TensorBoard), averaged, others, scalars, ..series })
}

impl Tagged {
    /// Keeps the last value of a name, until there are too many names.
    fn keep(&mut self, name: &[u8], number: f64) {
        let Ok(name) = std::str::from_utf8(name) else { return };
        if let Some(known) = self.scalars.get_mut(name) {
            *known = number;
        } else if self.scalars.len() < MAX_SCALARS && (1..=MAX_NAME).contains(&name.len()) {
            self.scalars.insert(name.to_owned(), number);
        }
    }

    fn take(&mut self, step: u64, tag: &Tag, number: f64) {
        let growing = match tag {
            Tag::Loss(place) => &mut self.losses[*place],
            Tag::Unknown(name) => {
                let (known, growing) = self.unknown.get_or_insert_with(|| (name.clone(), Growing::default()));
                if known != name {
                    return;
                }
                growing
            }
            Tag::Other(measure) => {
                let facts = Facts { others: vec![(*measure, number)], ..Facts::default() };
                return self.others.take(step, &facts);
            }
        };
        growing.take(step, &Facts { loss: Some(number), ..Facts::default() });
        growing.reach(step, None);
    }
}

/// Returns true if a file begins with a record whose length has the right checksum.
pub(super) fn is_event_file(begin: &[u8]) -> bool {
    let length = begin.first_chunk::<8>();
    let check = begin.get(8..).and_then(|rest| rest.first_chunk::<4>());
    length.zip(check).is_some_and(|(length, check)| event_checksum(length) == u32::from_le_bytes(*check))
}

enum Record {
    Whole,
    Long,
    End,
    Broken,
}

/// Reads the next record: its length, the length's checksum, the data, the data's checksum.
fn next(reader: &mut impl Read, data: &mut Vec<u8>) -> io::Result<Record> {
    data.clear();
    let Some(length) = array::<8>(reader)? else { return Ok(Record::End) };
    let Some(check) = array::<4>(reader)? else { return Ok(Record::End) };
    if event_checksum(&length) != u32::from_le_bytes(check) {
        return Ok(Record::Broken);
    }
    let mut rest = u64::from_le_bytes(length);
    let is_long = rest > MAX_RECORD as u64;
    let mut digest = CHECK.digest();
    let mut piece = [0; 8 << 10];
    while rest > 0 {
        let wanted = usize::try_from(rest).unwrap_or(usize::MAX).min(piece.len());
        let count = reader.read(&mut piece[..wanted])?;
        if count == 0 {
            return Ok(Record::End);
        }
        digest.update(&piece[..count]);
        if !is_long {
            data.extend_from_slice(&piece[..count]);
        }
        rest -= count as u64;
    }
    let Some(check) = array::<4>(reader)? else { return Ok(Record::End) };
    if masked(digest.finalize()) != u32::from_le_bytes(check) {
        return Ok(Record::Broken);
    }
    Ok(if is_long { Record::Long } else { Record::Whole })
}

fn array<const N: usize>(reader: &mut impl Read) -> io::Result<Option<[u8; N]>> {
    let mut bytes = [0; N];
    match reader.read_exact(&mut bytes) {
        Ok(()) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns the checksum of a part of a record, as the format stores it.
pub(crate) fn event_checksum(bytes: &[u8]) -> u32 {
    masked(CHECK.checksum(bytes))
}

/// Masks a checksum as the format stores it, so that data that contains checksums gets a different one.
fn masked(check: u32) -> u32 {
    check.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Reads the values of an `Event`: `step` is its field 2, `summary` 5.
fn event(bytes: &[u8], tagged: &mut Tagged) {
    let mut step = 0;
    let mut summary: &[u8] = &[];
    for field in Fields(bytes) {
        match field {
            (2, Value::Number(number)) => step = number,
            (5, Value::Bytes(bytes)) => summary = bytes,
            _ => {}
        }
    }
    // A negative step is decoded as a number beyond `i64::MAX`.
    if i64::try_from(step).is_err() {
        return;
    }
    for (field, value) in Fields(summary) {
        if let (1, Value::Bytes(value)) = (field, value)
            && let Some((name, number)) = scalar(value)
        {
            tagged.keep(name, number);
            if let Some(tag) = Tag::of(name) {
                tagged.take(step, &tag, number);
            }
        }
    }
}

/// Meaning of a tag: a loss, by its place in [`TAGS`] or by its name, or another value.
enum Tag {
    Loss(usize),
    Unknown(Vec<u8>),
    Other(Measure),
}

impl Tag {
    fn of(name: &[u8]) -> Option<Self> {
        if let Some(place) = TAGS.iter().position(|tag| tag.as_bytes() == name) {
            return Some(Self::Loss(place));
        }
        let text = std::str::from_utf8(name).ok()?;
        let is_loss = || text.to_ascii_lowercase().ends_with("loss") && !is_evaluation(&text.replace('_', "/"));
        Measure::of_tag(text).map(Self::Other).or_else(|| is_loss().then(|| Self::Unknown(name.to_vec())))
    }
}

/// Reads a `Summary.Value` with a number: `tag` is its field 1, `simple_value` 2, `tensor` 8.
fn scalar(bytes: &[u8]) -> Option<(&[u8], f64)> {
    let (mut tag, mut number) = (None, None);
    for field in Fields(bytes) {
        match field {
            (1, Value::Bytes(name)) => tag = Some(name),
            (2, Value::Four(bytes)) => number = Some(f64::from(f32::from_le_bytes(bytes))),
            (8, Value::Bytes(tensor)) => number = number.or(first_of(tensor)),
            _ => {}
        }
    }
    tag.zip(number)
}

/// Returns the first number of a `TensorProto`: `dtype` is its field 1 (1 for floats, 2 for doubles), `tensor_content`
/// 4, `float_val` 5, `double_val` 6. Lists of numbers are packed or not.
fn first_of(tensor: &[u8]) -> Option<f64> {
    let four = |bytes: &[u8]| bytes.first_chunk().map(|bytes| f64::from(f32::from_le_bytes(*bytes)));
    let eight = |bytes: &[u8]| bytes.first_chunk().map(|bytes| f64::from_le_bytes(*bytes));
    let mut dtype = 0;
    let mut first = None;
    for field in Fields(tensor) {
        first = first.or(match field {
            (1, Value::Number(number)) => {
                dtype = number;
                None
            }
            (4, Value::Bytes(bytes)) if dtype == 2 => eight(bytes),
            (4, Value::Bytes(bytes)) if dtype == 1 => four(bytes),
            (5, Value::Bytes(bytes)) => four(bytes),
            (5, Value::Four(bytes)) => four(&bytes),
            (6, Value::Bytes(bytes)) => eight(bytes),
            (6, Value::Eight(bytes)) => eight(&bytes),
            _ => None,
        });
    }
    first
}

/// The encoded value of a field.
enum Value<'a> {
    Number(u64),
    Eight([u8; 8]),
    Bytes(&'a [u8]),
    Four([u8; 4]),
}

/// An iterator over the fields of a message with their numbers. It ends at the first invalid field.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.number()?;
        let value = match key & 7 {
            0 => Value::Number(self.number()?),
            1 => Value::Eight(*self.split(8)?.first_chunk()?),
            2 => {
                let length = usize::try_from(self.number()?).ok()?;
                Value::Bytes(self.split(length)?)
            }
            5 => Value::Four(*self.split(4)?.first_chunk()?),
            _ => return None,
        };
        Some((key >> 3, value))
    }
}

impl<'a> Fields<'a> {
    fn split(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// Reads a varint: seven bits per byte, the lowest first.
    fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for place in 0..10 {
            let byte = *self.split(1)?.first()?;
            number |= u64::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }
}
