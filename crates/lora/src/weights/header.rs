//! Parser for the header of a safetensors file: a length of eight bytes, little endian, then JSON
//! (<https://huggingface.co/docs/safetensors>). The data follow; offsets count from the start of the data.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::io::Read;

use serde::Deserializer;
use serde::de::{Deserialize, Error as _, MapAccess, SeqAccess, Visitor};

use super::{Dtype, Error, foreign};

/// The longest header that is read, in bytes. The format allows 100 MB; the longest real headers, with the captions of
/// a large data set in their metadata, have a few megabytes.
pub const MAX_HEADER: u64 = 32 << 20;
/// Maximum number of tensors. A LoRA has a few thousand at most.
pub const MAX_TENSORS: usize = 100_000;
/// Maximum number of dimensions of a tensor. Weights have up to five.
const MAX_DIMENSIONS: usize = 8;

/// The header of a file.
#[derive(Debug)]
pub(super) struct Header {
    /// The tensors in the order of their data, which have no gaps and do not overlap.
    pub(super) tensors: Vec<Tensor>,
    /// Strings by name, as the trainer wrote them.
    pub(super) metadata: BTreeMap<String, String>,
    /// Offset of the data in the file, in bytes.
    pub(super) data_at: u64,
}

/// A tensor as the header describes it.
#[derive(Debug, Clone)]
pub(super) struct Tensor {
    pub(super) name: String,
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<u64>,
    /// The begin of its data, in bytes from the start of the data section; `end` is counted the same way.
    pub(super) begin: u64,
    pub(super) end: u64,
}

impl Tensor {
    /// Returns the number of elements. The check of the header has bounded it.
    pub(super) fn elements(&self) -> u64 {
        (self.end - self.begin) * 8 / self.dtype.bits() as u64
    }

    fn check(&self) -> Result<(), String> {
        let bits = self.dtype.bits() as u64;
        let wanted = self.shape.iter().try_fold(bits, |product, side| product.checked_mul(*side));
        let (name, shape, dtype) = (&self.name, &self.shape, self.dtype.name());
        match (self.end.checked_sub(self.begin), wanted) {
            (None, _) => Err(format!("the tensor {name} ends before it begins")),
            (Some(_), Some(wanted)) if wanted % 8 != 0 => {
                Err(format!("the tensor {name} does not end at a byte: {shape:?} of {dtype} takes {wanted} bits"))
            }
            (Some(has), Some(wanted)) if has == wanted / 8 => Ok(()),
            (Some(has), Some(wanted)) => {
                Err(format!("the tensor {name} has {has} bytes, but {shape:?} of {dtype} takes {}", wanted / 8))
            }
            (_, None) => Err(format!("the tensor {name} is too large to be true: {shape:?} of {dtype}")),
        }
    }
}

/// Reads and checks a header. It uses no more memory than a small multiple of the bytes that are really there, whatever
/// length the first bytes declare.
pub(super) fn read(reader: &mut impl Read) -> Result<Header, Error> {
    let mut start = Vec::new();
    reader.take(8).read_to_end(&mut start)?;
    let length = <[u8; 8]>::try_from(start.as_slice()).map(u64::from_le_bytes);
    let length = match length {
        Ok(length @ 2..=MAX_HEADER) => length,
        _ => {
            reader.take(foreign::SEEN as u64).read_to_end(&mut start)?;
            return Err(no_header(&start, length.ok()));
        }
    };
    let mut text = Vec::new();
    reader.take(length).read_to_end(&mut text)?;
    if (text.len() as u64) < length {
        return Err(unreadable(format!(
            "the header should have {length} bytes, but the file ends after {}: it was cut off, so copy or save it again",
            text.len()
        )));
    }
    let Entries { mut tensors, metadata } = serde_json::from_slice(&text).map_err(|error| {
        unreadable(format!("the header is not in the safetensors format: {error}; save or download the file again"))
    })?;
    tensors.sort_by_key(|tensor| (tensor.begin, tensor.end));
    check(&tensors).map_err(|what| {
        unreadable(format!("the header contradicts itself: {what}; do not load this file, save or download it again"))
    })?;
    Ok(Header { tensors, metadata, data_at: 8 + length })
}

fn unreadable(message: String) -> Error {
    Error::Unreadable(message)
}

/// Returns the error for a file whose first eight bytes cannot be the length of a header.
fn no_header(start: &[u8], length: Option<u64>) -> Error {
    let message = match (foreign::format_name(start), length) {
        (Some(told), _) => told.into_owned(),
        (None, None) => format!("this file has only {} bytes: it was cut off, so copy or save it again", start.len()),
        (None, Some(length)) if length < 2 => {
            format!("this is not a safetensors file: its header should have {length} bytes, but even `{{}}` has two")
        }
        (None, Some(length)) => format!(
            "this is not a safetensors file, or a hostile one: its header should have {length} bytes, but at most \
             {MAX_HEADER} are read; download or save it again"
        ),
    };
    Error::Unreadable(message)
}

fn check(tensors: &[Tensor]) -> Result<(), String> {
    let mut end = 0;
    let mut names = HashSet::new();
    for tensor in tensors {
        let name = &tensor.name;
        tensor.check()?;
        if tensor.begin > end {
            return Err(format!(
                "there are {} bytes before the tensor {name} that belong to no tensor",
                tensor.begin - end
            ));
        }
        if tensor.begin < end {
            return Err(format!("the tensor {name} overlaps the one before it"));
        }
        if !names.insert(name) {
            return Err(format!("the tensor {name} is given twice"));
        }
        end = tensor.end;
    }
    Ok(())
}

/// The members of the header's JSON object.
struct Entries {
    tensors: Vec<Tensor>,
    metadata: BTreeMap<String, String>,
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of tensors")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Entries, M::Error> {
        let (mut tensors, mut metadata) = (Vec::new(), None);
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                let Texts(texts) = map.next_value()?;
                if metadata.replace(texts).is_some() {
                    return Err(M::Error::custom("__metadata__ is given twice"));
                }
                continue;
            }
            if tensors.len() == MAX_TENSORS {
                return Err(M::Error::custom(format!("more than {MAX_TENSORS} tensors")));
            }
            let Entry { dtype, shape: Shape(shape), data_offsets: (begin, end) } = map.next_value()?;
            let dtype = Dtype::named(&dtype)
                .ok_or_else(|| M::Error::custom(format!("{dtype} is not a known type of numbers")))?;
            tensors.push(Tensor { name, dtype, shape, begin, end });
        }
        Ok(Entries { tensors, metadata: metadata.unwrap_or_default() })
    }
}

#[derive(serde::Deserialize)]
struct Entry {
    dtype: String,
    shape: Shape,
    data_offsets: (u64, u64),
}

/// The sides of a tensor. A list with too many sides is refused while it is read.
struct Shape(Vec<u64>);

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Sides;
        impl<'de> Visitor<'de> for Sides {
            type Value = Shape;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "up to {MAX_DIMENSIONS} sides")
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Shape, S::Error> {
                let mut sides = Vec::new();
                while let Some(side) = seq.next_element()? {
                    if sides.len() == MAX_DIMENSIONS {
                        return Err(S::Error::invalid_length(MAX_DIMENSIONS + 1, &self));
                    }
                    sides.push(side);
                }
                Ok(Shape(sides))
            }
        }
        deserializer.deserialize_seq(Sides)
    }
}

/// `__metadata__`: strings by name, each name once.
struct Texts(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Texts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("__metadata__ as a map of strings")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Texts, M::Error> {
                let mut texts = BTreeMap::new();
                while let Some((name, text)) = map.next_entry::<String, String>()? {
                    if texts.insert(name, text).is_some() {
                        return Err(M::Error::custom("a name in __metadata__ is given twice"));
                    }
                }
                Ok(Texts(texts))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}
