//! Inspection of trained LoRA weights: safetensors files in, facts and problems out.
//!
//! A file is read once, from start to end, through a window of fixed size. Only the following is kept: the header,
//! which is bounded ([`MAX_HEADER`], [`MAX_TENSORS`]), a few numbers for each tensor, and small matrices for the norms.
//! Everything in a file is checked before it is used.

mod compare;
mod dtype;
mod foreign;
mod header;
mod modules;
mod names;
mod private;
mod problems;
mod product;
mod programs;
mod stats;
mod summary;

use std::collections::BTreeMap;
use std::io::{self, Read};

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::domain::{Problem, Severity};
use header::{Header, Tensor};
use modules::{Layout, Seen};
use stats::{Sums, Window};

pub use compare::{Comparison, Difference, compare};
pub use dtype::Dtype;
pub use header::{MAX_HEADER, MAX_TENSORS};
pub use modules::Module;
pub use names::{Family, Method};
pub use private::Private;
pub use problems::ADAPTER_CONFIG;
pub use stats::Stats;
pub use summary::{Block, Summary};

/// The reason why a file could not be inspected.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be read.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// The file is not a safetensors file, or it is broken. The text says what the file is, and what to do.
    #[error("{}", private::hide(&shortened(.0, 400)))]
    Unreadable(String),
}

impl Error {
    /// Returns the error as a problem of the file, with the rule `weights-unreadable`.
    pub fn problem(&self) -> Problem {
        problems::problem(Severity::Error, "weights-unreadable", self.to_string(), None)
    }
}

/// The facts about a file of weights.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The SHA-256 of the whole file, in hexadecimal.
    pub sha256: String,
    /// The length of the file in bytes.
    pub bytes: u64,
    /// The naming scheme of the tensors; `None` when the file contains no LoRA.
    pub family: Option<Family>,
    /// The number of elements in all tensors.
    pub parameters: u64,
    /// The element types, with the number of tensors of each type.
    pub dtypes: BTreeMap<Dtype, usize>,
    /// True when the norms of modules are exact norms of products. Otherwise they are upper bounds: the products of the
    /// factors' norms. All norms in a file are of one kind, so that they can be compared.
    pub norms_are_exact: bool,
    /// The modules that the file changes, by name.
    pub modules: Vec<Module>,
    /// The names of tensors that belong to no module: weights of the model itself, for example.
    pub others: Vec<String>,
    /// The metadata, with `[secret]` in place of secrets.
    pub metadata: BTreeMap<String, String>,
    /// Facts in the metadata that are better not published.
    pub private: Vec<Private>,
    /// The tensors, in the order of their data.
    pub tensors: Vec<TensorReport>,
}

/// The facts about a tensor.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TensorReport {
    pub name: String,
    /// The element type.
    pub dtype: Dtype,
    /// The sizes of its dimensions.
    pub shape: Vec<u64>,
    /// Statistics of the numbers; `None` for types that are not for weights.
    pub stats: Option<Stats>,
}

impl Report {
    /// Returns the median norm of the modules, with which the others are compared; `None` without any norm.
    pub fn median_norm(&self) -> Option<f64> {
        median(self.modules.iter().filter_map(|module| module.norm).collect())
    }

    /// Returns the problems of the weights, errors first. The key of a problem is the name of a tensor, of a module or
    /// of a metadata entry.
    pub fn problems(&self) -> Vec<Problem> {
        problems::of(self)
    }
}

/// Returns the median of some numbers (the upper one of two); `None` for an empty list.
pub fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied()
}

/// Shortens a text to `most` characters, and adds an ellipsis where it was cut.
fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// Reads and checks the header of a file, and nothing behind it.
///
/// # Errors
/// Fails when the file cannot be read, and when it has no valid header.
pub fn check_header(reader: &mut impl Read) -> Result<(), Error> {
    header::read(reader).map(drop)
}

/// Reads a file from start to end. `reader` should be buffered, since the tensors of a LoRA are small.
///
/// # Errors
///
/// [`Error::Unreadable`] when this is not a safetensors file, or not a complete one. The text says what the file is
/// instead.
pub fn inspect(reader: impl Read) -> Result<Report, Error> {
    let mut reader = Hashing { inner: reader, hash: Sha256::new(), bytes: 0 };
    let Header { tensors, metadata, data_at } = header::read(&mut reader)?;
    let layout = Layout::of(&tensors);
    let seen = data(&mut reader, &tensors, &layout, data_at)?;
    let mut dtypes = BTreeMap::new();
    tensors.iter().for_each(|tensor| *dtypes.entry(tensor.dtype).or_default() += 1);
    Ok(Report {
        bytes: reader.bytes,
        sha256: hex::encode(reader.hash.finalize()),
        family: layout.family,
        parameters: tensors.iter().map(Tensor::elements).sum(),
        dtypes,
        norms_are_exact: layout.is_exact,
        modules: layout.modules(&tensors, &seen),
        others: layout.others.iter().map(|place| tensors[*place].name.clone()).collect(),
        private: private::facts(&metadata),
        metadata: metadata.iter().map(|(key, text)| (private::hide(key), private::hide(text))).collect(),
        tensors: tensors.into_iter().zip(seen).map(|(tensor, seen)| TensorReport::of(tensor, &seen)).collect(),
    })
}

impl TensorReport {
    fn of(Tensor { name, dtype, shape, .. }: Tensor, seen: &Seen) -> Self {
        Self { name, dtype, shape, stats: seen.stats }
    }
}

/// Reads all tensors, and checks that nothing follows them.
fn data<R: Read>(
    reader: &mut Hashing<R>,
    tensors: &[Tensor],
    layout: &Layout,
    data_at: u64,
) -> Result<Vec<Seen>, Error> {
    let mut window = Window::new();
    let mut seen = Vec::with_capacity(tensors.len());
    for (place, tensor) in tensors.iter().enumerate() {
        seen.push(pass(reader, &mut window, tensor, place, layout).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Error::Unreadable(format!(
                "this file was cut off: {} of {} bytes of data are there, so copy or save it again",
                reader.bytes.saturating_sub(data_at),
                tensors.last().map_or(0, |last| last.end),
            )),
            _ => Error::Read(error),
        })?);
    }
    if reader.take(1).read_to_end(&mut Vec::new())? > 0 {
        let message = "extra bytes follow the last tensor: do not load this file, save or download \
                       it again";
        return Err(Error::Unreadable(message.to_owned()));
    }
    Ok(seen)
}

/// Reads one tensor.
fn pass(
    reader: &mut impl Read,
    window: &mut Window,
    tensor: &Tensor,
    place: usize,
    layout: &Layout,
) -> io::Result<Seen> {
    let (mut sums, mut kept, mut scalar, mut done) = (Sums::new(), Vec::new(), None, 0);
    while done < tensor.elements() {
        let (numbers, count) = window.next(reader, tensor, done)?;
        sums.add(numbers);
        if layout.wants(place) {
            kept.extend_from_slice(numbers);
        }
        scalar = numbers.first().copied().filter(|_| tensor.elements() == 1);
        done += count;
    }
    let stats = tensor.dtype.is_judged().then(|| sums.stats());
    Ok(Seen { stats, scalar, gram: layout.gram(place, &kept) })
}

/// A reader that counts and hashes the bytes that pass through it.
#[derive(Debug)]
struct Hashing<R> {
    inner: R,
    hash: Sha256,
    bytes: u64,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hash.update(&buffer[..count]);
        self.bytes += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
