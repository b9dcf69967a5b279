//! Trained LoRA weights: safetensors files in, facts and problems out.
//!
//! A file is read once, from its start to its end, through a window of fixed size. What is kept is what its header says,
//! which is bounded ([`MAX_HEADER`], [`MAX_TENSORS`]), a few numbers for each tensor, and small matrices for the norms.
//! Nothing that a file says is believed before it has been checked.

mod compare;
mod dtype;
mod foreign;
mod header;
mod modules;
mod names;
mod private;
mod problems;
mod product;
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
pub use stats::Stats;
pub use summary::{Block, Summary};

/// Why there are no facts about a file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be read.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// It is no safetensors file, or a broken one. The text says what it is, and what to do.
    #[error("{}", private::hide(&shortened(.0, 400)))]
    Unreadable(String),
}

impl Error {
    /// The error as a problem of the file, with the rule `weights-unreadable`.
    pub fn problem(&self) -> Problem {
        problems::problem(Severity::Error, "weights-unreadable", self.to_string(), None)
    }
}

/// What a file of weights holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The SHA-256 of the whole file, in hexadecimal.
    pub sha256: String,
    /// The length of the file in bytes.
    pub bytes: u64,
    /// Who writes names like these; none when there is no LoRA in the file.
    pub family: Option<Family>,
    /// The numbers in all tensors.
    pub parameters: u64,
    /// The types of the numbers, with how many tensors have each.
    pub dtypes: BTreeMap<Dtype, usize>,
    /// Whether the norms of modules are those of products; else they are upper bounds, the norms of the factors
    /// multiplied. All are of one kind, so that they can be compared.
    pub norms_are_exact: bool,
    /// The modules that the file changes, by name.
    pub modules: Vec<Module>,
    /// The names of tensors that belong to no module: weights of the model itself, for instance.
    pub others: Vec<String>,
    /// The metadata, with `[secret]` in place of secrets.
    pub metadata: BTreeMap<String, String>,
    /// What the metadata tells that is better not published.
    pub private: Vec<Private>,
    /// Each tensor, in the order of the data.
    pub tensors: Vec<TensorReport>,
}

/// What a tensor holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TensorReport {
    /// Its name.
    pub name: String,
    /// The type of its numbers.
    pub dtype: Dtype,
    /// Its sides.
    pub shape: Vec<u64>,
    /// What its numbers are like; none for types that are no weights.
    pub stats: Option<Stats>,
}

impl Report {
    /// The norm of the middle module by size of its change, which others are compared with; none without any norm.
    pub fn median_norm(&self) -> Option<f64> {
        median(self.modules.iter().filter_map(|module| module.norm).collect())
    }

    /// What is wrong with the weights, errors first. The key of a problem is the name of a tensor, a module or metadata.
    pub fn problems(&self) -> Vec<Problem> {
        problems::of(self)
    }
}

/// The middle one of some numbers; none when there are none.
pub fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied()
}

/// A text of at most so many characters, with an ellipsis where it was cut.
fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// Reads a file from its start to its end. `reader` is best buffered: tensors of a LoRA are small.
///
/// # Errors
///
/// [`Error::Unreadable`] when this is no safetensors file or not a whole one, with what it is instead.
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

/// Lets all tensors pass, and sees to it that nothing follows.
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
        let message = "bytes follow after the last tensor that belong to none: do not load this file, save or download \
                       it again";
        return Err(Error::Unreadable(message.to_owned()));
    }
    Ok(seen)
}

/// Lets one tensor pass.
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

/// A reader that counts and hashes what passes through it.
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
