//! Statistics of a tensor's numbers, in one pass.

use std::io::{self, Read};

use serde::Serialize;

use super::header::Tensor;

/// Numbers per piece: few enough to fit the processor's cache.
const AT_ONCE: usize = 8 << 10;
/// Number of parallel sums, so that the processor can add several numbers at once.
const LANES: usize = 16;

/// Statistics of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Stats {
    /// Number of elements that are NaN.
    pub nan: u64,
    /// Number of infinite elements, of both signs.
    pub infinite: u64,
    /// The Frobenius norm of the finite elements.
    pub norm: f64,
    /// The smallest finite element; `None` when there is no finite element.
    pub min: Option<f32>,
    /// The largest finite element; `None` when there is no finite element.
    pub max: Option<f32>,
}

impl Stats {
    /// Returns true if all elements are finite and zero.
    pub fn is_zero(&self) -> bool {
        self.is_finite() && self.min.unwrap_or(0.0) == 0.0 && self.max.unwrap_or(0.0) == 0.0
    }

    /// Returns true if no element is infinite or NaN.
    pub fn is_finite(&self) -> bool {
        self.nan == 0 && self.infinite == 0
    }
}

/// Running sums over a tensor.
#[derive(Debug)]
pub(super) struct Sums {
    nan: u64,
    infinite: u64,
    squares: f64,
    min: f32,
    max: f32,
}

impl Sums {
    pub(super) fn new() -> Self {
        Self { nan: 0, infinite: 0, squares: 0.0, min: f32::INFINITY, max: f32::NEG_INFINITY }
    }

    pub(super) fn add(&mut self, numbers: &[f32]) {
        let mut squares = [0.0f64; LANES];
        let (mut min, mut max) = ([f32::INFINITY; LANES], [f32::NEG_INFINITY; LANES]);
        let (groups, rest) = numbers.as_chunks::<LANES>();
        for group in groups {
            for lane in 0..LANES {
                squares[lane] += f64::from(group[lane]) * f64::from(group[lane]);
                min[lane] = min[lane].min(group[lane]);
                max[lane] = max[lane].max(group[lane]);
            }
        }
        for (lane, number) in rest.iter().enumerate() {
            squares[lane] += f64::from(*number) * f64::from(*number);
            min[lane] = min[lane].min(*number);
            max[lane] = max[lane].max(*number);
        }
        let sum: f64 = squares.iter().sum();
        if sum.is_finite() {
            self.squares += sum;
            self.min = min.into_iter().fold(self.min, f32::min);
            self.max = max.into_iter().fold(self.max, f32::max);
        } else {
            // This case is rare, so the loop above does not check each number.
            numbers.iter().for_each(|number| self.add_one(*number));
        }
    }

    fn add_one(&mut self, number: f32) {
        if number.is_nan() {
            self.nan += 1;
        } else if number.is_infinite() {
            self.infinite += 1;
        } else {
            self.squares += f64::from(number) * f64::from(number);
            self.min = self.min.min(number);
            self.max = self.max.max(number);
        }
    }

    pub(super) fn stats(&self) -> Stats {
        let known = |number: f32| number.is_finite().then_some(number);
        Stats {
            nan: self.nan,
            infinite: self.infinite,
            norm: self.squares.sqrt(),
            min: known(self.min),
            max: known(self.max),
        }
    }
}

/// A buffer through which tensors are read piece by piece.
#[derive(Debug)]
pub(super) struct Window {
    bytes: Vec<u8>,
    numbers: Vec<f32>,
}

impl Window {
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; AT_ONCE * size_of::<f64>()], numbers: vec![0.0; AT_ONCE] }
    }

    /// Reads the next numbers of a tensor of which `done` elements have been read. Returns the numbers, which are none
    /// for a type without any, and the count of elements.
    pub(super) fn next(&mut self, reader: &mut impl Read, tensor: &Tensor, done: u64) -> io::Result<(&[f32], u64)> {
        // Each part takes whole bytes, because the tensor does, and its parts have a multiple of eight elements.
        let count = (tensor.elements() - done).min(AT_ONCE as u64);
        let bytes = &mut self.bytes[..count as usize * tensor.dtype.bits() / 8];
        reader.read_exact(bytes)?;
        let numbers = tensor.dtype.decode(bytes, &mut self.numbers);
        Ok((&self.numbers[..numbers], count))
    }
}
