//! Reader for TensorBoard's event files: records with checksums, each an `Event` in protocol buffers, of which only a
//! few fields are read.

use std::io::{self, Read};

use crc::{CRC_32_ISCSI, Crc};

use super::protobuf::{Fields, Value};
use super::scalars::Scalars;
use crate::series::{Error, Series, Source};

/// CRC-32C, the checksum of the records.
const CHECK: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);
/// Maximum number of bytes of a record that are kept. Longer records are images and sounds, which are skipped.
const MAX_RECORD: usize = 1 << 20;

/// Reads a file. A truncated file returns the points up to its end: the training may have been stopped.
pub fn read(mut reader: impl Read) -> Result<Series, Error> {
    let mut scalars = Scalars::default();
    let mut record = Vec::new();
    let mut number = 0_u64;
    loop {
        number += 1;
        match next(&mut reader, &mut record)? {
            Record::Whole => event(&record, &mut scalars),
            Record::Long => {}
            Record::End => return Ok(scalars.into_series(Source::TensorBoard)),
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
}

/// Returns true if a file begins with a record whose length has the right checksum.
pub fn is_event_file(begin: &[u8]) -> bool {
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
fn event(bytes: &[u8], scalars: &mut Scalars) {
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
            && let Ok(name) = std::str::from_utf8(name)
        {
            scalars.take(step, name, number);
        }
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
