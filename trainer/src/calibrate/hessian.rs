//! `H = Σ x xᵀ` over the inputs of a matrix, and the factor of its inverse.

use crate::ops::gemm::{View, ViewMut, gemm};

/// Share of the mean diagonal that is added to all of it, so that inputs that never came have an inverse, too.
const DAMPING: f64 = 0.01;

/// Sum of the outer products of the inputs that a matrix of `cols` columns has multiplied.
#[derive(Clone, Debug)]
pub struct Hessian {
    cols: usize,
    sums: Vec<f32>, // [cols, cols]; [cols], the diagonal alone, where there are too many columns
    rows: u64,
}

impl Hessian {
    /// Of no inputs yet.
    pub fn new(cols: usize) -> Self {
        Hessian { cols, sums: vec![0.0; Hessian::bytes(cols) / size_of::<f32>()], rows: 0 }
    }

    /// Bytes of the sums for a matrix of `cols` columns.
    pub fn bytes(cols: usize) -> usize {
        size_of::<f32>() * if cols > super::MOST_COLUMNS { cols } else { cols * cols }
    }

    /// Adds `rows` inputs, one after the other in `x`.
    ///
    /// # Panics
    /// If they have another width.
    pub fn add(&mut self, x: &[f32], rows: usize) {
        assert_eq!(x.len(), rows * self.cols, "inputs of {} columns", self.cols);
        self.rows += rows as u64;
        if self.is_diagonal() {
            for x in x.chunks_exact(self.cols) {
                self.sums.iter_mut().zip(x).for_each(|(sum, x)| *sum += x * x);
            }
            return;
        }
        let x = View::new(x, rows, self.cols);
        gemm(1.0, x.t(), x, true, ViewMut::new(&mut self.sums, self.cols, self.cols));
    }

    /// Columns of the matrix.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Inputs that were added.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    fn is_diagonal(&self) -> bool {
        self.cols > super::MOST_COLUMNS
    }

    /// Mean square of each input, damped: how much an error of a column's weights counts.
    pub fn importance(&self) -> Vec<f32> {
        let stride = if self.is_diagonal() { 1 } else { self.cols + 1 };
        let mut diagonal: Vec<f32> = self.sums.iter().step_by(stride).copied().collect();
        let mean = diagonal.iter().map(|&d| f64::from(d)).sum::<f64>() / self.cols as f64;
        let damping = if mean > 0.0 { DAMPING * mean } else { 1.0 };
        diagonal.iter_mut().for_each(|d| *d = ((f64::from(*d) + damping) / self.rows.max(1) as f64) as f32);
        diagonal
    }

    /// The columns, those of the largest inputs first.
    pub fn order(&self) -> Vec<usize> {
        let importance = self.importance();
        let mut order: Vec<usize> = (0..self.cols).collect();
        order.sort_by(|&a, &b| importance[b].total_cmp(&importance[a]).then(a.cmp(&b)));
        order
    }

    /// The upper triangular U with `Uᵀ U = (H + damping)⁻¹`, H with its columns and rows in the given order; `None` where only the diagonal
    /// is known.
    ///
    /// With the order turned round, Cholesky's `L Lᵀ` is `H = R Rᵀ` with an upper R, and `U = R⁻¹`.
    ///
    /// # Panics
    /// If the order has another length.
    pub fn factor(&self, order: &[usize]) -> Option<Factor> {
        assert_eq!(order.len(), self.cols, "an order of all columns");
        if self.is_diagonal() {
            return None;
        }
        let n = self.cols;
        let mean = (0..n).map(|i| f64::from(self.sums[i * n + i])).sum::<f64>() / n as f64;
        let damping = if mean > 0.0 { DAMPING * mean } else { 1.0 };
        // L of the turned matrix, row-major: rows 0..n, columns up to the row's own.
        let turned = |i: usize, j: usize| f64::from(self.sums[order[n - 1 - i] * n + order[n - 1 - j]]);
        let mut l = vec![0f64; n * n];
        for i in 0..n {
            for j in 0..=i {
                let (before, at) = l.split_at_mut(i * n);
                let row_j = if j == i { &at[..j] } else { &before[j * n..j * n + j] };
                let dot: f64 = at[..j].iter().zip(row_j).map(|(a, b)| a * b).sum();
                let value = turned(i, j) + if i == j { damping } else { 0.0 } - dot;
                l[i * n + j] = if i == j { value.max(damping * 1e-6).sqrt() } else { value / l[j * n + j] };
            }
        }
        // Its inverse, column by column, is lower too; turned back it is U.
        let mut upper = vec![0f32; n * n];
        let mut column = vec![0f64; n];
        for j in 0..n {
            column[j] = 1.0 / l[j * n + j];
            for i in j + 1..n {
                let dot: f64 = l[i * n + j..i * n + i].iter().zip(&column[j..i]).map(|(a, b)| a * b).sum();
                column[i] = -dot / l[i * n + i];
            }
            for i in j..n {
                upper[(n - 1 - i) * n + n - 1 - j] = column[i] as f32;
            }
        }
        Some(Factor { upper, n })
    }

    /// `tr D H Dᵀ` per input, for `difference` D `[rows, cols]`: the mean squared error of the answers.
    pub fn error(&self, difference: &[f32]) -> f64 {
        let n = self.cols;
        let per_input = 1.0 / self.rows.max(1) as f64;
        if self.is_diagonal() {
            let row = |d: &[f32]| d.iter().zip(&self.sums).map(|(&d, &h)| f64::from(d * d * h)).sum::<f64>();
            return per_input * difference.chunks_exact(n).map(row).sum::<f64>();
        }
        let rows = difference.len() / n;
        let mut product = vec![0f32; rows * n];
        let (d, h) = (View::new(difference, rows, n), View::new(&self.sums, n, n));
        gemm(1.0, d, h, false, ViewMut::new(&mut product, rows, n));
        per_input * product.iter().zip(difference).map(|(&p, &d)| f64::from(p) * f64::from(d)).sum::<f64>()
    }
}

/// The factor of a Hessian's inverse.
#[derive(Clone, Debug)]
pub struct Factor {
    upper: Vec<f32>, // [n, n], zeros below the diagonal
    n: usize,
}

impl Factor {
    /// Row `i` from its diagonal on.
    pub fn row(&self, i: usize) -> &[f32] {
        &self.upper[i * self.n + i..(i + 1) * self.n]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(rows: usize, cols: usize) -> Vec<f32> {
        (0..rows * cols).map(|i| ((i * 7919 + i / cols * 31) % 103) as f32 * 0.02 - 1.0).collect()
    }

    #[test]
    fn the_factor_is_that_of_the_inverse() {
        let n = 12;
        let mut hessian = Hessian::new(n);
        hessian.add(&inputs(40, n), 40);
        let order = hessian.order();
        assert!(order.windows(2).all(|o| hessian.sums[o[0] * (n + 1)] >= hessian.sums[o[1] * (n + 1)]));
        let factor = hessian.factor(&order).unwrap();
        // (H + damping) Uᵀ U = 1
        let mean = (0..n).map(|i| f64::from(hessian.sums[i * n + i])).sum::<f64>() / n as f64;
        let u = |i: usize, j: usize| if j < i { 0.0 } else { f64::from(factor.row(i)[j - i]) };
        let inverse = |i: usize, j: usize| (0..n).map(|k| u(k, i) * u(k, j)).sum::<f64>();
        for i in 0..n {
            for j in 0..n {
                let damped = |k: usize| {
                    f64::from(hessian.sums[order[i] * n + order[k]])
                        + if i == k { DAMPING * mean } else { 0.0 }
                };
                let one: f64 = (0..n).map(|k| damped(k) * inverse(k, j)).sum();
                assert!((one - f64::from(u8::from(i == j))).abs() < 1e-3, "{i}, {j}: {one}");
            }
        }
    }

    #[test]
    fn the_error_is_that_of_the_answers() {
        let (x, d) = (inputs(30, 5), inputs(3, 5));
        let mut hessian = Hessian::new(5);
        hessian.add(&x[..100], 20);
        hessian.add(&x[100..], 10);
        let answer = |d: &[f32], x: &[f32]| d.iter().zip(x).map(|(d, x)| f64::from(d * x)).sum::<f64>();
        let squares = x.chunks(5).flat_map(|x| d.chunks(5).map(move |d| answer(d, x).powi(2)));
        let expected = squares.sum::<f64>() / 30.0;
        assert!((hessian.error(&d) / expected - 1.0).abs() < 1e-4);
        assert_eq!((hessian.rows(), hessian.cols()), (30, 5));
    }

    #[test]
    fn without_inputs_all_columns_count_alike() {
        let hessian = Hessian::new(4);
        assert_eq!(hessian.importance(), [1.0; 4]);
        assert_eq!(hessian.factor(&[0, 1, 2, 3]).unwrap().row(1), [1.0, 0.0, 0.0]);
    }
}
