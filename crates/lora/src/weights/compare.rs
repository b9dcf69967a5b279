//! Comparison of two files of weights.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, Read, Seek, SeekFrom};

use serde::Serialize;

use super::Error;
use super::header::{self, Header, Tensor};
use super::names::{Name, Role};
use super::private::hide;
use super::stats::Window;

/// The differences between a file and its base.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Comparison {
    /// The modules for which both files have tensors of the same shape, by name.
    pub modules: Vec<Difference>,
    /// Tensors that the base lacks.
    pub only_here: Vec<String>,
    /// Tensors that only the base has.
    pub only_in_base: Vec<String>,
    /// Tensors in both files that have different shapes, or a type that is not for weights.
    pub not_comparable: Vec<String>,
    /// Alphas in both files that differ.
    pub other_alpha: Vec<String>,
}

/// The difference of a module's tensors, concatenated to one long vector. The vectors are the stored numbers and not
/// the product of up and down, since the products cannot be compared when the ranks differ.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// The name of the module, or of a tensor that belongs to no module.
    pub module: String,
    /// The norm of the vector in the file.
    pub norm: f64,
    /// The norm of the vector in the base.
    pub norm_in_base: f64,
    /// The norm of file minus base.
    pub difference: f64,
    /// The cosine of the angle between the two, -1 to 1; `None` when one of them is zero or not finite.
    pub cosine: Option<f64>,
}

/// A file whose header has been read.
struct Opened<R> {
    reader: R,
    header: Header,
    window: Window,
}

/// Sums over the numbers of two tensors.
#[derive(Debug, Clone, Copy, Default)]
struct Both {
    here: f64,
    base: f64,
    difference: f64,
    product: f64,
}

/// Compares two files tensor by tensor, through two windows of fixed size. Both readers must be at the start.
///
/// # Errors
///
/// [`Error::Unreadable`] when either file is not a safetensors file. To know which one, call [`super::inspect`] on both
/// first.
pub fn compare(here: impl Read + Seek, base: impl Read + Seek) -> Result<Comparison, Error> {
    let (mut here, mut base) = (Opened::new(here)?, Opened::new(base)?);
    let of_base: HashMap<String, Tensor> =
        base.header.tensors.iter().map(|tensor| (tensor.name.clone(), tensor.clone())).collect();
    let mut comparison = Comparison::default();
    let mut modules: BTreeMap<String, Both> = BTreeMap::new();
    let tensors = std::mem::take(&mut here.header.tensors);
    for tensor in &tensors {
        let name = hide(&tensor.name);
        let Some(other) = of_base.get(&tensor.name) else {
            comparison.only_here.push(name);
            continue;
        };
        if tensor.shape != other.shape || !tensor.dtype.is_judged() || !other.dtype.is_judged() {
            comparison.not_comparable.push(name);
            continue;
        }
        let both = both(&mut here, &mut base, tensor, other)?;
        match Name::read(&tensor.name) {
            // Alpha is a scale without a direction: together with the matrices it would only blur the cosine.
            Some(Name { role: Role::Alpha, .. }) if both.difference != 0.0 => comparison.other_alpha.push(name),
            Some(Name { role: Role::Alpha, .. }) => {}
            read => modules.entry(read.map_or(name, |read| hide(read.module))).or_default().add(both),
        }
    }
    let here_too: HashSet<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    let only = base.header.tensors.iter().filter(|tensor| !here_too.contains(tensor.name.as_str()));
    comparison.only_in_base = only.map(|tensor| hide(&tensor.name)).collect();
    comparison.modules = modules.into_iter().map(|(module, both)| both.difference(module)).collect();
    Ok(comparison)
}

impl<R: Read + Seek> Opened<R> {
    fn new(mut reader: R) -> Result<Self, Error> {
        let header = header::read(&mut reader)?;
        Ok(Self { reader, header, window: Window::new() })
    }

    fn seek(&mut self, tensor: &Tensor) -> io::Result<()> {
        let at = self.header.data_at + tensor.begin;
        self.reader.seek(SeekFrom::Start(at)).map(|_| ())
    }
}

fn both<A: Read + Seek, B: Read + Seek>(
    here: &mut Opened<A>,
    base: &mut Opened<B>,
    tensor: &Tensor,
    other: &Tensor,
) -> io::Result<Both> {
    here.seek(tensor)?;
    base.seek(other)?;
    let mut sums = Both::default();
    let mut done = 0;
    while done < tensor.elements() {
        let (left, count) = here.window.next(&mut here.reader, tensor, done)?;
        let (right, _) = base.window.next(&mut base.reader, other, done)?;
        for (left, right) in left.iter().zip(right) {
            let (left, right) = (f64::from(*left), f64::from(*right));
            sums.add(Both {
                here: left * left,
                base: right * right,
                difference: (left - right) * (left - right),
                product: left * right,
            });
        }
        done += count;
    }
    Ok(sums)
}

impl Both {
    fn add(&mut self, more: Self) {
        self.here += more.here;
        self.base += more.base;
        self.difference += more.difference;
        self.product += more.product;
    }

    fn difference(self, module: String) -> Difference {
        let cosine = self.product / (self.here.sqrt() * self.base.sqrt());
        Difference {
            module,
            norm: self.here.sqrt(),
            norm_in_base: self.base.sqrt(),
            difference: self.difference.sqrt(),
            // Rounding may move the cosine slightly out of its range.
            cosine: cosine.is_finite().then(|| cosine.clamp(-1.0, 1.0)),
        }
    }
}
