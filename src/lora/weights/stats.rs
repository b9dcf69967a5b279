//! What the numbers of a tensor are like, in one pass.

use std::io::{self, Read};

use serde::Serialize;

use super::header::Tensor;

/// Numbers that are looked at together: few enough for the processor's cache.
const AT_ONCE: usize = 8 << 10;
/// Sums that are kept side by side, so that the processor adds several numbers at once.
const LANES: usize = 16;

/// The numbers of a tensor, summed up.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Stats {
    /// Elements that are not a number.
    pub nan: u64,
    /// Elements that are infinite, of both signs.
    pub infinite: u64,
    /// The Frobenius norm of the finite elements.
    pub norm: f64,
    /// The least finite element; none when there is no finite one.
    pub min: Option<f32>,
    /// The greatest finite element; none when there is no finite one.
    pub max: Option<f32>,
}

impl Stats {
    /// Whether all elements are finite and zero.
    pub fn is_zero(&self) -> bool {
        self.is_finite() && self.min.unwrap_or(0.0) == 0.0 && self.max.unwrap_or(0.0) == 0.0
    }

    /// Whether no element is infinite or not a number.
    pub fn is_finite(&self) -> bool {
        self.nan == 0 && self.infinite == 0
    }
}

/// Sums that grow while a tensor passes.
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
            // Rare, so that the loop above need not ask each number.
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

/// Room in which tensors pass by, piece by piece.
#[derive(Debug)]
pub(super) struct Window {
    bytes: Vec<u8>,
    numbers: Vec<f32>,
}

impl Window {
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; AT_ONCE * size_of::<f64>()], numbers: vec![0.0; AT_ONCE] }
    }

    /// The next numbers of a tensor of which `done` elements have passed, and how many elements these are; no numbers for
    /// a type that is not judged.
    pub(super) fn next(&mut self, reader: &mut impl Read, tensor: &Tensor, done: u64) -> io::Result<(&[f32], u64)> {
        let count = (tensor.elements() - done).min(AT_ONCE as u64);
        let bytes = &mut self.bytes[..count as usize * tensor.dtype.size()];
        reader.read_exact(bytes)?;
        let numbers = tensor.dtype.decode(bytes, &mut self.numbers);
        Ok((&self.numbers[..numbers], count))
    }
}
