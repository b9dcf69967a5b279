//! The norm of a product of two matrices, computed without the product.
//!
//! ‖B·A‖² = Σ (BᵀB)ᵢⱼ (AAᵀ)ᵢⱼ: two square matrices, as wide as the rank, are enough, and for LoRA they are small.

/// Maximum number of multiplications for all modules of a file. Beyond it, reading would no longer dominate the time.
const MAX_WORK: u64 = 1 << 30;
/// Maximum number of elements of one matrix, which is kept in memory while it is read.
const MAX_ELEMENTS: u64 = 2 << 20;
/// Maximum number of elements of all square matrices of a file.
const MAX_GRAMS: u64 = 2 << 20;

/// The cost of the norms of a file's products.
#[derive(Debug, Default)]
pub(super) struct Cost {
    work: u64,
    grams: u64,
    is_too_large: bool,
}

impl Cost {
    /// Adds a matrix with this number of elements and this rank.
    pub(super) fn add(&mut self, elements: u64, rank: u64) {
        self.is_too_large |= elements > MAX_ELEMENTS;
        self.work = self.work.saturating_add(elements.saturating_mul(rank));
        self.grams = self.grams.saturating_add(rank.saturating_mul(rank));
    }

    pub(super) fn is_affordable(&self) -> bool {
        !self.is_too_large && self.work <= MAX_WORK && self.grams <= MAX_GRAMS
    }
}

/// Returns the products of all pairs of rows of a matrix (`AAᵀ`), for a down matrix with one row per rank.
pub(super) fn of_rows(numbers: &[f32], rank: usize) -> Vec<f64> {
    let width = numbers.len() / rank.max(1);
    let row = |index: usize| &numbers[index * width..(index + 1) * width];
    let mut gram = vec![0.0; rank * rank];
    for i in 0..rank {
        for j in 0..=i {
            let sum: f64 = row(i).iter().zip(row(j)).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            gram[i * rank + j] = sum;
            gram[j * rank + i] = sum;
        }
    }
    gram
}

/// Returns the products of all pairs of columns of a matrix (`BᵀB`), for an up matrix with one column per rank.
pub(super) fn of_columns(numbers: &[f32], rank: usize) -> Vec<f64> {
    let mut gram = vec![0.0; rank * rank];
    for row in numbers.chunks_exact(rank.max(1)) {
        for (sums, left) in gram.chunks_exact_mut(rank).zip(row) {
            for (sum, right) in sums.iter_mut().zip(row) {
                *sum += f64::from(*left) * f64::from(*right);
            }
        }
    }
    gram
}

/// Returns the Frobenius norm of up × down.
pub(super) fn norm(of_columns: &[f64], of_rows: &[f64]) -> f64 {
    // A rounding error could make the sum of a zero product negative.
    of_columns.iter().zip(of_rows).map(|(a, b)| a * b).sum::<f64>().max(0.0).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_norm_is_that_of_the_product() {
        // [[1, 2], [3, 4], [5, 6]] × [[1, 0, -1], [2, 1, 0]] = [[5, 2, -1], [11, 4, -3], [17, 6, -5]]
        let (up, down) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.0, 0.0, -1.0, 2.0, 1.0, 0.0]);
        let squares = [5, 2, 1, 11, 4, 3, 17, 6, 5].map(|x| x * x).iter().sum::<i32>();
        assert!((norm(&of_columns(&up, 2), &of_rows(&down, 2)) - f64::from(squares).sqrt()).abs() < 1e-9);
        assert_eq!(norm(&of_columns(&[], 0), &of_rows(&[], 0)), 0.0);
    }

    #[test]
    fn what_costs_too_much_is_left() {
        let mut cost = Cost::default();
        cost.add(320 * 16, 16);
        assert!(cost.is_affordable());
        for (elements, rank) in [(MAX_ELEMENTS + 1, 1), (MAX_ELEMENTS, 513), (1 << 12, 1 << 12), (u64::MAX, u64::MAX)] {
            let mut cost = Cost::default();
            cost.add(elements, rank);
            assert!(!cost.is_affordable(), "{elements} {rank}");
        }
    }
}
